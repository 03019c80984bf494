/* model/user.h - see docs in user.c. */
#ifndef SLUICE_MODEL_USER_H
#define SLUICE_MODEL_USER_H

#include "model/module.h"

extern const struct module user_module;

#endif
