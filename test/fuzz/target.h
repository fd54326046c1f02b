/* What a fuzz target gives: libFuzzer calls it with made-up bytes, replay.c with those of a corpus.
 */
#ifndef LH_TEST_FUZZ_TARGET_H
#define LH_TEST_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

/* Returns 0; a broken promise aborts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
