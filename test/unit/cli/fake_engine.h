/* An engine that moves nothing, to show the command line what a real one would.
 *
 * In the program `longhaul_fake` the environment says what happens:
 *   FAKE_STATUS   name of the status that a send or a start of serve ends with ("BUSY"); default OK
 *   FAKE_TICKS    progress callbacks before the end, 20 ms apart; default 3
 *   FAKE_SKIP     bytes that were there already
 *   FAKE_ENTRIES  of a tree, none of which is sent: kept, made, removed, unnamed, none
 *   FAKE_SESSIONS start callbacks; default 1
 *   FAKE_STUCK    a cancel or a close is never answered
 * A tree (fake_tree.c) goes by FAKE_STATUS and FAKE_TICKS too: with the last tick something becomes
 * of one entry of each kind; with PARTIAL two fail.
 * Every option that it was given is written as a debug line of the log. */
#ifndef LH_TEST_FAKE_ENGINE_H
#define LH_TEST_FAKE_ENGINE_H

#include <longhaul/longhaul.h>

#define FAKE_TOTAL (UINT64_C(4) << 30)
#define FAKE_DIGEST "xxh3-128/256k:00112233445566778899aabbccddeeff"

#endif
