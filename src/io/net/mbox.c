#include "io/net/mbox.h"

#include "util/err.h"

#include <stddef.h>

/* Async sends coalesce: whoever wakes takes everything. */
static void drain(struct lh_mbox *mbox)
{
    struct lh_msg *msg;

    pthread_mutex_lock(&mbox->lock);
    msg = mbox->head;
    mbox->head = mbox->tail = NULL;
    pthread_mutex_unlock(&mbox->lock);
    while (msg != NULL) {
        struct lh_msg *next = msg->next;

        msg->fn(msg);
        msg = next;
    }
}

static void on_async(uv_async_t *async)
{
    drain(LH_CONTAINER_OF(async, struct lh_mbox, async));
}

int lh_mbox_init(struct lh_mbox *mbox, uv_loop_t *loop)
{
    mbox->head = mbox->tail = NULL;
    if (uv_async_init(loop, &mbox->async, on_async) != 0)
        return -LH_E_NOMEM;
    pthread_mutex_init(&mbox->lock, NULL);
    return 0;
}

void lh_mbox_post(struct lh_mbox *mbox, struct lh_msg *msg, void (*fn)(struct lh_msg *msg))
{
    msg->next = NULL;
    msg->fn = fn;
    pthread_mutex_lock(&mbox->lock);
    if (mbox->tail != NULL)
        mbox->tail->next = msg;
    else
        mbox->head = msg;
    mbox->tail = msg;
    /* Within the lock: once the message is out, its handler may close this mailbox. */
    uv_async_send(&mbox->async);
    pthread_mutex_unlock(&mbox->lock);
}

static void on_closed(uv_handle_t *handle)
{
    struct lh_mbox *mbox = LH_CONTAINER_OF((uv_async_t *)handle, struct lh_mbox, async);

    LH_INVARIANT(mbox->head == NULL);
    pthread_mutex_destroy(&mbox->lock);
    if (mbox->closed != NULL)
        mbox->closed(mbox);
}

void lh_mbox_close(struct lh_mbox *mbox, void (*closed)(struct lh_mbox *mbox))
{
    drain(mbox);
    mbox->closed = closed;
    uv_close((uv_handle_t *)&mbox->async, on_closed);
}
