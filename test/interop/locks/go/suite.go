// Package suite pins a client library whose own tests are run; go.sum has its checksum.
package suite

import _ "github.com/rabbitmq/amqp091-go"
