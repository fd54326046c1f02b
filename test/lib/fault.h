/* Allocation that fails when it is told to.
 *
 * The program is linked with -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc. A test arms the fault
 * before an operation and counts n up from 0 until the operation passes without meeting it: so each
 * of its allocations has failed once. Only allocations of the thread that armed it fail. */
#ifndef LH_TEST_FAULT_H
#define LH_TEST_FAULT_H

#include <stdbool.h>

/* The n-th allocation from now (0: the next) returns NULL, with errno ENOMEM; those after it work.
 */
void lh_fault_arm(unsigned n);

/* No more faults. Returns whether the armed one was met. */
bool lh_fault_disarm(void);

#endif
