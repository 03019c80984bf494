"""Queues by a public client."""


def drain(connection, queue):
    """All that stands in a queue, in order, gone afterwards: (method, properties, body)."""
    channel, found, left = connection.channel(), [], True
    channel.basic_consume(queue, lambda _, *message: found.append(message), auto_ack=True)
    while left:  # the answer with the count comes behind whatever was sent to us before
        left = channel.queue_declare(queue, passive=True).method.message_count
        connection.process_data_events(0.05)
    channel.close()
    return found
