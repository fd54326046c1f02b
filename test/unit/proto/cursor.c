/* Little-endian fields within a bounded run of bytes. */
#include "proto/cursor.h"
#include "test/lib/tap.h"

#include <stdlib.h>
#include <string.h>

static void little_endian(void)
{
    static const uint8_t want[] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f, 0x0e,
                                   0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08, 'x',  'y'};
    uint8_t out[sizeof(want)];
    uint8_t text[2];
    struct lh_writer w;
    struct lh_reader r;

    lh_writer_init(&w, out, sizeof(out));
    lh_put_u8(&w, 0x01);
    lh_put_u16(&w, 0x0203);
    lh_put_u32(&w, 0x04050607);
    lh_put_u64(&w, 0x08090a0b0c0d0e0f);
    lh_put_bytes(&w, "xy", 2);
    ok(!w.failed && w.at == w.end, "a full writer has not failed");
    is_mem(out, want, sizeof(want), "fields are little-endian and packed");

    lh_reader_init(&r, want, sizeof(want));
    is_u64(lh_get_u8(&r), 0x01, "u8");
    is_u64(lh_get_u16(&r), 0x0203, "u16");
    is_u64(lh_get_u32(&r), 0x04050607, "u32");
    is_u64(lh_get_u64(&r), 0x08090a0b0c0d0e0f, "u64");
    lh_get_bytes(&r, text, 2);
    is_mem(text, "xy", 2, "bytes");
    ok(!r.failed && lh_reader_left(&r) == 0, "an empty reader has not failed");
}

static void varints(void)
{
    static const uint64_t some[] = {0,     1,     127,        128,       300,
                                    16383, 16384, UINT32_MAX, INT64_MAX, UINT64_MAX};
    static const unsigned bytes[] = {1, 1, 1, 2, 2, 2, 3, 5, 9, 10};
    static const uint8_t too_large[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    static const uint8_t endless[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
                                      0x80, 0x80, 0x80, 0x80, 0};
    uint8_t out[10];
    struct lh_writer w;
    struct lh_reader r;

    for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
        lh_writer_init(&w, out, sizeof(out));
        lh_put_varint(&w, some[i]);
        ok(!w.failed && w.at == out + bytes[i], "%u bytes", bytes[i]);
        lh_reader_init(&r, out, bytes[i]);
        ok(lh_get_varint(&r, some[i]) == some[i] && !r.failed && lh_reader_left(&r) == 0,
           "are read back");
        lh_reader_init(&r, out, bytes[i] - 1);
        ok(lh_get_varint(&r, UINT64_MAX) == 0 && r.failed, "not when they are cut short");
        lh_reader_init(&r, out, bytes[i]);
        ok(some[i] == 0 || (lh_get_varint(&r, some[i] - 1) == 0 && r.failed), "nor above a limit");
    }
    lh_reader_init(&r, too_large, sizeof(too_large));
    ok(lh_get_varint(&r, UINT64_MAX) == 0 && r.failed, "more than 64 bits");
    lh_reader_init(&r, endless, sizeof(endless));
    ok(lh_get_varint(&r, UINT64_MAX) == 0 && r.failed, "more than ten bytes");
    lh_writer_init(&w, out, 1);
    lh_put_varint(&w, 128);
    ok(w.failed, "no room");
}

static void overrun_while_writing(void)
{
    uint8_t *out = malloc(7);
    struct lh_writer w;

    if (out == NULL)
        bail("out of memory");
    memset(out, 0xee, 7);
    lh_writer_init(&w, out, 7);
    lh_put_u32(&w, 1);
    lh_put_u32(&w, 2);
    ok(w.failed, "a field that does not fit fails the writer");
    is_u64(out[4], 0xee, "and is not written in part");
    lh_put_u8(&w, 3);
    ok(w.failed && out[4] == 0xee, "and it stays failed");
    lh_put_bytes(&w, "abc", 3);
    ok(w.failed && out[4] == 0xee, "for bytes too");
    lh_put_bytes(&w, NULL, 0);
    ok(w.failed, "also for nothing");
    lh_writer_init(&w, out, 0);
    lh_put_bytes(&w, NULL, 0);
    ok(!w.failed, "nothing fits into nothing");
    free(out);
}

static void overrun_while_reading(void)
{
    uint8_t *in = malloc(7);
    uint8_t copy[4] = {9, 9, 9, 9};
    struct lh_reader r;

    if (in == NULL)
        bail("out of memory");
    memset(in, 0x11, 7);
    lh_reader_init(&r, in, 7);
    lh_get_u32(&r);
    is_u64(lh_get_u32(&r), 0, "a field beyond the end reads as 0");
    ok(r.failed, "and fails the reader");
    is_u64(lh_get_u8(&r), 0, "and it stays failed, though a byte would be there");
    ok(lh_get_view(&r, 0) == NULL, "a failed reader has no view, not even of nothing");
    lh_get_bytes(&r, copy, sizeof(copy));
    is_mem(copy, "\0\0\0\0", 4, "bytes beyond the end are zeros");

    lh_reader_init(&r, in, 7);
    ok(lh_get_view(&r, 7) == in && lh_get_view(&r, 1) == NULL && r.failed, "views are bounded");
    lh_reader_init(&r, in, 7);
    ok(lh_get_view(&r, SIZE_MAX) == NULL && r.failed, "a huge length does not wrap around");
    lh_reader_init(&r, NULL, 0);
    ok(lh_get_view(&r, 0) != NULL && !r.failed, "nothing at all has a view of nothing");
    is_u64(lh_get_u8(&r), 0, "and no byte");
    ok(r.failed, "so that the reader fails");
    free(in);
}

int main(void)
{
    little_endian();
    varints();
    overrun_while_writing();
    overrun_while_reading();
    return done_testing();
}
