/* Deliberate breakages, for proving that the tests can fail.
 *
 * In a normal build lh_mutant() is the constant false and costs nothing. In a build with
 * -DLH_MUTATIONS=ON the one that LH_MUTANT names in the environment is switched on. */
#ifndef LH_UTIL_MUTANT_H
#define LH_UTIL_MUTANT_H

#include <stdbool.h>

#ifdef LH_MUTATIONS
bool lh_mutant(const char *name);
#else
#define lh_mutant(name) false
#endif

#endif
