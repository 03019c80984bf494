/* model/session.h - see docs in session.c. */
#ifndef SLUICE_MODEL_SESSION_H
#define SLUICE_MODEL_SESSION_H

#include "model/module.h"

extern const struct module session_module;

#endif
