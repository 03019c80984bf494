"""Queues by a public client."""
import pika

from .wait import until


def open_channel(server):
    """On a connection of its own to `server.amqp`."""
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.amqp, socket_timeout=60)).channel()


def drain(connection, queue):
    """All that stands in a queue that nobody else uses, in order, gone afterwards: (method, properties, body)."""
    channel, found = connection.channel(), []
    count = channel.queue_declare(queue, passive=True).method.message_count
    channel.basic_consume(queue, lambda _, *message: found.append(message), auto_ack=True)
    until(lambda: connection.process_data_events(0.05) or len(found) >= count, what=f"all {count} of {queue}")
    channel.close()
    return found
