/*
 * base/clock.h - the two clocks. Only the top of the program reads them; everything below gets time
 * as an argument.
 */
#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_SECOND UINT64_C(1000000000)
#define NS_PER_MS     UINT64_C(1000000)
#define NS_PER_US     UINT64_C(1000)

/* ns since the Unix epoch. May step when the machine's clock is set. */
uint64_t clock_real_ns(void);
/* ns since some fixed point; never goes back. */
uint64_t clock_monotonic_ns(void);

#endif
