#include "redis_peer.h"

#include "test/lib/tap.h"

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

struct fake_conn {
    uv_tcp_t tcp;
    uv_timer_t crumb;
    struct fake_conn *next;
    struct fake *fake;
    redisReader *reader;
    char rest[4096]; /* to be sent in crumbs */
    char in[65536];
    unsigned n_open;
};

static void on_conn_closed(uv_handle_t *handle)
{
    struct fake_conn *conn = handle->data;

    if (--conn->n_open > 0)
        return;
    redisReaderFree(conn->reader);
    free(conn);
}

static void conn_close(struct fake_conn *conn)
{
    struct fake_conn **at = &conn->fake->conns;

    while (*at != NULL && *at != conn)
        at = &(*at)->next;
    if (*at == NULL)
        return;
    *at = conn->next;
    uv_close((uv_handle_t *)&conn->tcp, on_conn_closed);
    uv_close((uv_handle_t *)&conn->crumb, on_conn_closed);
}

struct chunk {
    uv_write_t write;
    struct fake_conn *conn;
    char bytes[1 << 20];
};

static void on_chunk(uv_write_t *write, int status)
{
    struct chunk *chunk = write->data;
    uv_buf_t buf = uv_buf_init(chunk->bytes, sizeof(chunk->bytes));

    if (status != 0 || uv_write(write, (uv_stream_t *)&chunk->conn->tcp, &buf, 1, on_chunk) != 0)
        free(chunk);
}

static void flood(struct fake_conn *conn)
{
    struct chunk *chunk = calloc(1, sizeof(*chunk));

    chunk->conn = conn;
    chunk->write.data = chunk;
    on_chunk(&chunk->write, 0);
}

static void put(struct fake_conn *conn, const char *text, size_t len)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)text, (unsigned)len);

    if (len > 0 && uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1) != (int)len)
        bail("the fake cannot write");
}

static void on_crumb(uv_timer_t *timer)
{
    struct fake_conn *conn = timer->data;

    put(conn, conn->rest, 1);
    memmove(conn->rest, conn->rest + 1, strlen(conn->rest));
    if (conn->rest[0] == '\0')
        uv_timer_stop(timer);
}

static void say(struct fake_conn *conn, const char *text)
{
    char kind = text[0] == END[0] || text[0] == FLOOD[0] ? *text++ : '\0';

    if (conn->fake->crumbs) {
        strcat(conn->rest, text);
        uv_timer_start(&conn->crumb, on_crumb, 1, 1);
        return;
    }
    put(conn, text, strlen(text));
    if (kind == END[0])
        conn_close(conn);
    else if (kind == FLOOD[0])
        flood(conn);
}

static void answer(struct fake_conn *conn, const redisReply *command)
{
    struct fake *f = conn->fake;
    const char *verb = command->element[0]->str;
    struct answer *a = &f->command;
    const char *usual = "+OK\r\n";

    if (strcmp(verb, "AUTH") == 0) {
        a = &f->auth;
    } else if (strcmp(verb, "SELECT") == 0) {
        a = &f->select;
    } else if (strcmp(verb, "PING") == 0) {
        a = &f->ping;
        usual = "+PONG\r\n";
    }
    if (a->times > 0) {
        a->times--;
        usual = a->text;
    }
    say(conn, usual);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct fake_conn *conn = handle->data;

    *buf = uv_buf_init(conn->in, sizeof(conn->in));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct fake_conn *conn = stream->data;
    void *command = NULL;

    if (n < 0) {
        conn_close(conn);
        return;
    }
    redisReaderFeed(conn->reader, buf->base, (size_t)n);
    while (!uv_is_closing((uv_handle_t *)stream)) {
        if (redisReaderGetReply(conn->reader, &command) != REDIS_OK)
            bail("what was sent is no RESP: %s", conn->reader->errstr);
        if (command == NULL)
            break;
        answer(conn, command);
        freeReplyObject(command);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct fake *f = listener->data;
    struct fake_conn *conn = calloc(1, sizeof(*conn));

    uv_tcp_init(listener->loop, &conn->tcp);
    uv_timer_init(listener->loop, &conn->crumb);
    conn->tcp.data = conn->crumb.data = conn;
    conn->fake = f;
    conn->n_open = 2;
    conn->reader = redisReaderCreate();
    conn->next = f->conns;
    f->conns = conn;
    f->n_conns++;
    if (uv_accept(listener, (uv_stream_t *)&conn->tcp) != 0)
        bail("the fake cannot accept");
    uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
}

void fake_start(struct fake *f, uv_loop_t *loop)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int len = sizeof(addr);

    memset(f, 0, sizeof(*f));
    uv_tcp_init(loop, &f->listener);
    f->listener.data = f;
    if (uv_tcp_bind(&f->listener, (struct sockaddr *)&addr, 0) != 0 ||
        uv_listen((uv_stream_t *)&f->listener, 16, on_connection) != 0 ||
        uv_tcp_getsockname(&f->listener, (struct sockaddr *)&addr, &len) != 0)
        bail("the fake cannot listen");
    f->port = ntohs(addr.sin_port);
}

void fake_cut(struct fake *f)
{
    while (f->conns != NULL)
        conn_close(f->conns);
}

void fake_deaf(struct fake *f, bool deaf)
{
    for (struct fake_conn *conn = f->conns; conn != NULL; conn = conn->next) {
        if (deaf)
            uv_read_stop((uv_stream_t *)&conn->tcp);
        else
            uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
    }
}

void fake_close(struct fake *f)
{
    fake_cut(f);
    uv_close((uv_handle_t *)&f->listener, NULL);
}
