/*
 * amqp/codec_internal.h - what the made code offers to codec.c. Internal to the codec.
 */
#ifndef SLUICE_AMQP_CODEC_INTERNAL_H
#define SLUICE_AMQP_CODEC_INTERNAL_H

#include "amqp/codec.h"
#include "base/amqp_table.h"
#include "base/wire.h"

/* The fields of m->id, which is set. False: there is no such method. */
bool codec_get_method(struct reader *r, struct amqp_method *m);
/* Of the fields. False: one is too long, or there is no such method. */
bool codec_method_size(const struct amqp_method *m, size_t *ret_size);
uint8_t *codec_put_method(uint8_t *to, const struct amqp_method *m);

/* The values of p->flags, without the flags. */
extern const uint16_t codec_known_properties;
void codec_get_properties(struct reader *r, struct amqp_properties *p);
size_t codec_properties_size(const struct amqp_properties *p);
bool codec_properties_fit(const struct amqp_properties *p);
uint8_t *codec_put_properties(uint8_t *to, const struct amqp_properties *p);

#endif
