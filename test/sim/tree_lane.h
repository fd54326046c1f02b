/* A lane and its streams: what tree_lane.c and tree_stream.c share. */
#ifndef LH_SIM_TREE_LANE_H
#define LH_SIM_TREE_LANE_H

#include "test/sim/tree_world.h"

enum phase { RESTING, DIALING, OFFERED, MOVING, ENDED };

struct stream {
    bool up;
    unsigned gen;       /* of what is on its way to it */
    uint64_t next, end; /* packs it was granted and has not made */
};

struct lane {
    struct lh_lane *owner;
    struct lh_send_callbacks cbs;
    struct lh_sched sched;
    bool sched_ready;
    enum phase phase;
    unsigned dials; /* events of older ones are stale */
    struct tw_session *s;
    uint32_t transfer;
    uint64_t epoch;
    uint64_t told_bytes;
    bool finish_said;
    bool room_due;
    uint8_t holder[LH_HOLDER_SIZE];
    struct stream streams[TW_STREAMS];
    int status;
    char text[600];
};

extern struct lane *lane; /* of the run at hand; NULL: none */

/* It has a session whose end here is open. */
bool lane_alive(void);
/* The contents may go: streams come up, one after the other. */
void lane_streams_start(void);

#endif
