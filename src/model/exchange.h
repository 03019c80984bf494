/* model/exchange.h - see docs in exchange.c. */
#ifndef SLUICE_MODEL_EXCHANGE_H
#define SLUICE_MODEL_EXCHANGE_H

#include "model/module.h"

extern const struct module exchange_module;

#endif
