/* Sinks of "t" in the scratch directory: what the tests of them share. */
#ifndef LH_TEST_SINK_RIG_H
#define LH_TEST_SINK_RIG_H

#include "io/disk/sink.h"
#include "io/disk/staging.h"
#include "scratch.h"

extern struct lh_place *root;
extern struct lh_hidden hidden; /* of "t" */
/* Of the last rig_open; err also of what followed. */
extern struct lh_sink_opened opened;
extern struct lh_err err;

/* First of all, and last. */
void rig_start(void);
void rig_end(void);

/* As the source is offered; NULL: err says why. */
struct lh_sink *rig_open(const struct scratch_source *src);
/* Blocks [first, end), all of which must be taken. */
void rig_send(struct lh_sink *sink, const struct scratch_source *src, uint64_t first, uint64_t end);
/* An empty directory but for a partial with blocks [0, n) durable. */
void rig_begin(const struct scratch_source *src, uint64_t n);
/* Open, expecting a partial with n durable blocks; complete it and look at the result. */
void rig_resumes(const struct scratch_source *src, uint64_t n, const char *what);

#endif
