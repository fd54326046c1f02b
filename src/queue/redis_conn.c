/* One socket to a Redis: libuv's stream with hiredis' reader of replies behind it.
 *
 * hiredis' asynchronous half (0.14) is not used: it frees its context under the caller, loses the
 * errors of a connect, and bounds nothing. Its reader is the part that is worth having.
 *
 * One thread, the loop's. Happy path: open → connected → [send → write at the end of the turn] and
 * [read → reply]* → close → closed. Any failure becomes one `lost`, from the loop. */
#include "queue/redis_conn.h"

#include "util/err.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdlib.h>

#define OUT_MAX_BYTES (32 << 20)
#define REPLY_MAX_BYTES (64 << 20)
/* Of an array: the reader makes room for them before they are there. */
#define REPLY_MAX_ELEMENTS (1 << 20)
#define KEEPALIVE_S 60

struct lh_redis_conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
    uv_prepare_t flush; /* active while there is something to send */
    uv_timer_t failed;  /* brings what failed at once to the loop */
    uv_connect_t connect;
    uv_write_t write;
    const struct lh_redis_conn_events *events;
    void *arg;
    redisReader *reader;
    redisReplyObjectFunctions theirs; /* make replies; */
    redisReplyObjectFunctions ours;   /* the same, but for arrays */
    size_t unfinished_bytes;          /* of a reply that is not whole yet */
    struct lh_buf out;                /* to be written */
    struct lh_buf writing;            /* what `write` has */
    int failed_uv;
    unsigned n_open; /* handles */
    bool is_writing;
    bool is_tcp;
    bool too_many; /* elements */
    bool done;     /* lost or closed */
    bool closing;
    char in[64 << 10];
};

static void lose(struct lh_redis_conn *conn, int status, const char *words)
{
    if (conn->done)
        return;
    conn->done = true;
    conn->events->lost(conn->arg, status, words);
}

static void on_failed(uv_timer_t *timer)
{
    struct lh_redis_conn *conn = timer->data;

    lose(conn, LH_E_CONNECT, uv_strerror(conn->failed_uv));
}

static void on_written(uv_write_t *write, int status)
{
    struct lh_redis_conn *conn = write->data;

    conn->is_writing = false;
    lh_buf_free(&conn->writing);
    if (status != 0)
        lose(conn, LH_E_NETWORK, uv_strerror(status));
    else if (!conn->done && lh_buf_len(&conn->out) > 0)
        lh_redis_conn_send(conn);
}

/* What did not fit into the socket goes by a request; it keeps its buffer until that is done. */
static int write_rest(struct lh_redis_conn *conn)
{
    struct lh_buf rest = conn->out;
    uv_buf_t buf;
    int r;

    conn->out = conn->writing;
    conn->writing = rest;
    buf = uv_buf_init((char *)conn->writing.base + rest.start, (unsigned)lh_buf_len(&rest));
    r = uv_write(&conn->write, &conn->u.stream, &buf, 1, on_written);
    conn->is_writing = r == 0;
    return r;
}

static void on_flush(uv_prepare_t *flush)
{
    struct lh_redis_conn *conn = flush->data;
    uv_buf_t buf =
        uv_buf_init((char *)conn->out.base + conn->out.start, (unsigned)lh_buf_len(&conn->out));
    int r;

    uv_prepare_stop(flush);
    if (conn->done || conn->is_writing)
        return;
    r = uv_try_write(&conn->u.stream, &buf, 1);
    if (r > 0)
        lh_buf_consume(&conn->out, (size_t)r);
    if (r >= 0 || r == UV_EAGAIN)
        r = lh_buf_len(&conn->out) > 0 ? write_rest(conn) : 0;
    if (r != 0)
        lose(conn, LH_E_NETWORK, uv_strerror(r));
}

struct lh_buf *lh_redis_conn_out(struct lh_redis_conn *conn)
{
    return &conn->out;
}

void lh_redis_conn_send(struct lh_redis_conn *conn)
{
    if (!conn->is_writing) /* else on_written does it */
        uv_prepare_start(&conn->flush, on_flush);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct lh_redis_conn *conn = handle->data;

    (void)suggested;
    *buf = uv_buf_init(conn->in, sizeof(conn->in));
}

/* An array of a reply, unless it is to have too many elements. */
#if HIREDIS_MAJOR >= 1
static void *bounded_array(const redisReadTask *task, size_t n)
#else
static void *bounded_array(const redisReadTask *task, int n)
#endif
{
    struct lh_redis_conn *conn = task->privdata;

    if (n <= REPLY_MAX_ELEMENTS)
        return conn->theirs.createArray(task, n);
    conn->too_many = true;
    return NULL;
}

static redisReader *reader_new(struct lh_redis_conn *conn)
{
    redisReader *reader = redisReaderCreate();

    if (reader == NULL)
        return NULL;
    conn->theirs = conn->ours = *reader->fn;
    conn->ours.createArray = bounded_array;
    reader->fn = &conn->ours;
    reader->privdata = conn;
    return reader;
}

static void lose_reader(struct lh_redis_conn *conn)
{
    if (conn->too_many)
        lose(conn, LH_E_PROTOCOL, "its reply has too many elements");
    else
        lose(conn, conn->reader->err == REDIS_ERR_OOM ? LH_E_NOMEM : LH_E_PROTOCOL,
             conn->reader->errstr);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct lh_redis_conn *conn = stream->data;
    void *reply = NULL;

    if (conn->done || n == 0)
        return;
    if (n < 0) {
        lose(conn, LH_E_NETWORK, n == UV_EOF ? "it closed the connection" : uv_strerror((int)n));
        return;
    }
    if (redisReaderFeed(conn->reader, buf->base, (size_t)n) != REDIS_OK) {
        lose(conn, LH_E_NOMEM, "out of memory");
        return;
    }
    conn->unfinished_bytes += (size_t)n;
    while (!conn->done) {
        if (redisReaderGetReply(conn->reader, &reply) != REDIS_OK) {
            lose_reader(conn);
            return;
        }
        if (reply == NULL)
            break;
        conn->unfinished_bytes = 0;
        conn->events->reply(conn->arg, reply);
        freeReplyObject(reply);
    }
    if (conn->unfinished_bytes > REPLY_MAX_BYTES)
        lose(conn, LH_E_PROTOCOL, "its reply is larger than 64 MiB");
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct lh_redis_conn *conn = connect->data;

    if (conn->done)
        return;
    if (status == 0)
        status = uv_read_start(&conn->u.stream, on_alloc, on_read);
    if (status != 0) {
        lose(conn, LH_E_CONNECT, uv_strerror(status));
        return;
    }
    if (conn->is_tcp) { /* without them it works as well */
        uv_tcp_nodelay(&conn->u.tcp, 1);
        uv_tcp_keepalive(&conn->u.tcp, 1, KEEPALIVE_S);
    }
    conn->events->connected(conn->arg);
}

int lh_redis_conn_open(uv_loop_t *loop, const struct sockaddr *addr, const char *path,
                       const struct lh_redis_conn_events *events, void *arg,
                       struct lh_redis_conn **out)
{
    struct lh_redis_conn *conn = calloc(1, sizeof(*conn));
    redisReader *reader = conn != NULL ? reader_new(conn) : NULL;

    if (reader == NULL) {
        free(conn);
        return -LH_E_NOMEM;
    }
    conn->reader = reader;
    conn->events = events;
    conn->arg = arg;
    conn->is_tcp = addr != NULL;
    lh_buf_init(&conn->out, OUT_MAX_BYTES);
    lh_buf_init(&conn->writing, OUT_MAX_BYTES);
    uv_prepare_init(loop, &conn->flush);
    uv_timer_init(loop, &conn->failed);
    conn->n_open = 3;
    conn->flush.data = conn->failed.data = conn->connect.data = conn->write.data = conn;
    if (addr != NULL) {
        uv_tcp_init(loop, &conn->u.tcp);
        conn->failed_uv = uv_tcp_connect(&conn->connect, &conn->u.tcp, addr, on_connected);
        if (conn->failed_uv != 0)
            uv_timer_start(&conn->failed, on_failed, 0, 0);
    } else {
        uv_pipe_init(loop, &conn->u.pipe, 0);
        uv_pipe_connect(&conn->connect, &conn->u.pipe, path, on_connected);
    }
    conn->u.handle.data = conn;
    *out = conn;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct lh_redis_conn *conn = handle->data;
    const struct lh_redis_conn_events *events = conn->events;
    void *arg = conn->arg;

    if (--conn->n_open > 0)
        return;
    redisReaderFree(conn->reader);
    lh_buf_free(&conn->out);
    lh_buf_free(&conn->writing);
    free(conn);
    events->closed(arg);
}

void lh_redis_conn_close(struct lh_redis_conn *conn)
{
    LH_REQUIRE(!conn->closing);
    conn->closing = conn->done = true;
    uv_close((uv_handle_t *)&conn->flush, on_closed);
    uv_close((uv_handle_t *)&conn->failed, on_closed);
    uv_close(&conn->u.handle, on_closed);
}
