/* Mailboxes between threads: a queue and a uv_async_t.
 *
 * A message is embedded in what it is about and carries the function to run on the receiving loop.
 * Messages of one poster arrive in order. Posting never fails and never allocates. */
#ifndef LH_IO_MBOX_H
#define LH_IO_MBOX_H

#include <pthread.h>
#include <uv.h>

struct lh_msg {
    struct lh_msg *next;
    void (*fn)(struct lh_msg *msg); /* runs on the mailbox's loop; the message is free to go then */
};

struct lh_mbox {
    pthread_mutex_t lock;
    struct lh_msg *head;
    struct lh_msg *tail;
    uv_async_t async;
    void (*closed)(struct lh_mbox *mbox);
};

/* Thread: the loop's. Returns 0 or -LH_E_NOMEM. */
int lh_mbox_init(struct lh_mbox *mbox, uv_loop_t *loop);

/* Any thread. The mailbox must not be closing: whoever can still post keeps it open. */
void lh_mbox_post(struct lh_mbox *mbox, struct lh_msg *msg, void (*fn)(struct lh_msg *msg));

/* Thread: the loop's. What is queued is run first; `closed` fires when the memory may go. */
void lh_mbox_close(struct lh_mbox *mbox, void (*closed)(struct lh_mbox *mbox));

#endif
