/* The progress line, the reports and the summary.
 *
 * The line has parts, each with its own width. The last of the order below goes first when the
 * terminal is narrow; the bar takes what is left over and goes when that is too little. */
#include "cli/progress.h"

#include "util/text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MIN_BAR 10
#define MAX_BAR 40
#define GAP 2

/* In the order in which they stand. */
enum part { BAR, PERCENT, FILES, BYTES, RATE, ETA, STREAMS, RESUMED, N_PARTS };

/* The first to be left out comes first; the percentage and the files always stay. */
static const enum part least_first[] = {RESUMED, STREAMS, BAR, ETA, BYTES, RATE};

#define N_DROPPABLE (sizeof(least_first) / sizeof(least_first[0]))

uint64_t lh_progress_eta_s(const struct lh_send_stats *stats)
{
    double left_bits;
    double seconds;

    if (stats->bytes_durable >= stats->bytes_total)
        return 0;
    if (stats->rate_bps == 0)
        return UINT64_MAX;
    left_bits = (double)(stats->bytes_total - stats->bytes_durable) * 8.0;
    seconds = left_bits / (double)stats->rate_bps;
    /* Beyond a year a number says no more than "unknown". */
    return seconds > 366.0 * 86400.0 ? UINT64_MAX : (uint64_t)(seconds + 0.999);
}

unsigned lh_progress_percent(const struct lh_send_stats *stats)
{
    unsigned percent;

    if (stats->bytes_durable >= stats->bytes_total)
        return 100;
    percent = (unsigned)((double)stats->bytes_durable * 100.0 / (double)stats->bytes_total);
    return percent > 99 ? 99 : percent;
}

char *lh_progress_rate(char *out, size_t size, uint64_t rate_bps)
{
    static const char *const units[] = {"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"};
    double value = (double)rate_bps;
    size_t unit = 0;

    while (value >= 999.95 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1000.0;
        unit++;
    }
    snprintf(out, size, "%.*f %s", unit > 0 && value < 99.95 ? 1 : 0, value, units[unit]);
    return out;
}

/* "[=====>     ]", `width` columns with the brackets. */
static void draw_bar(char *out, unsigned width, const struct lh_send_stats *stats)
{
    unsigned inner = width - 2;
    double share =
        stats->bytes_total == 0 ? 1.0 : (double)stats->bytes_durable / (double)stats->bytes_total;
    unsigned full = share >= 1.0 ? inner : (unsigned)(share * inner);

    out[0] = '[';
    memset(out + 1, '=', full);
    memset(out + 1 + full, ' ', inner - full);
    if (full < inner)
        out[1 + full] = '>';
    out[1 + inner] = ']';
    out[width] = '\0';
}

static void fill_parts(char parts[N_PARTS][64], const struct lh_send_stats *stats)
{
    char a[24];
    char b[24];

    parts[BAR][0] = '\0';
    parts[FILES][0] = '\0';
    snprintf(parts[PERCENT], sizeof(parts[0]), "%3u%%", lh_progress_percent(stats));
    snprintf(parts[BYTES], sizeof(parts[0]), "%s of %s",
             lh_text_bytes(a, sizeof(a), stats->bytes_durable),
             lh_text_bytes(b, sizeof(b), stats->bytes_total));
    snprintf(parts[RATE], sizeof(parts[0]), "%s/s",
             lh_text_bytes(a, sizeof(a), stats->rate_bps / 8));
    snprintf(parts[ETA], sizeof(parts[0]), "ETA %s",
             lh_text_duration(a, sizeof(a), lh_progress_eta_s(stats)));
    if (stats->streams == 0 && stats->bytes_durable < stats->bytes_total)
        snprintf(parts[STREAMS], sizeof(parts[0]), "no connection");
    else
        snprintf(parts[STREAMS], sizeof(parts[0]), "%u stream%s", (unsigned)stats->streams,
                 stats->streams == 1 ? "" : "s");
    if (stats->bytes_skipped > 0)
        snprintf(parts[RESUMED], sizeof(parts[0]), "resumed %s",
                 lh_text_bytes(a, sizeof(a), stats->bytes_skipped));
    else
        parts[RESUMED][0] = '\0';
}

/* Columns of what is shown; an empty part takes none. */
static unsigned columns(char parts[N_PARTS][64], const bool *shown, unsigned bar)
{
    unsigned sum = 0;

    for (int i = 0; i < N_PARTS; i++) {
        unsigned n = i == BAR ? bar : (unsigned)strlen(parts[i]);

        if (shown[i] && n > 0)
            sum += n + (sum > 0 ? GAP : 0);
    }
    return sum;
}

/* The line, of at most `width` columns. with_bar: what is left over is filled. */
static char *lay_out(char out[LH_PROGRESS_TEXT_SIZE], char parts[N_PARTS][64],
                     const struct lh_send_stats *stats, bool with_bar, unsigned width)
{
    bool shown[N_PARTS];
    unsigned bar = with_bar ? MIN_BAR : 0;
    size_t used = 0;

    if (width > LH_PROGRESS_MAX_WIDTH)
        width = LH_PROGRESS_MAX_WIDTH;
    for (int i = 0; i < N_PARTS; i++)
        shown[i] = true;
    for (size_t i = 0; i < N_DROPPABLE && columns(parts, shown, bar) > width; i++)
        shown[least_first[i]] = false;
    if (shown[BAR] && with_bar) {
        bar += width - columns(parts, shown, bar);
        draw_bar(parts[BAR], bar < MAX_BAR ? bar : MAX_BAR, stats);
    }
    out[0] = '\0';
    for (int i = 0; i < N_PARTS; i++) {
        if (shown[i] && parts[i][0] != '\0')
            used += (size_t)snprintf(out + used, LH_PROGRESS_TEXT_SIZE - used, "%*s%s",
                                     used > 0 ? GAP : 0, "", parts[i]);
    }
    if (used > width)
        out[width] = '\0';
    return out;
}

/* All parts but the bar, with commas. */
static char *enumerate(char out[LH_PROGRESS_TEXT_SIZE], char parts[N_PARTS][64])
{
    size_t used = 0;

    out[0] = '\0';
    for (int i = BAR + 1; i < N_PARTS; i++) {
        const char *part = parts[i] + strspn(parts[i], " ");

        if (part[0] != '\0')
            used += (size_t)snprintf(out + used, LH_PROGRESS_TEXT_SIZE - used, "%s%s",
                                     used > 0 ? ", " : "", part);
    }
    return out;
}

char *lh_progress_bar(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_send_stats *stats,
                      unsigned width)
{
    char parts[N_PARTS][64];

    fill_parts(parts, stats);
    return lay_out(out, parts, stats, true, width);
}

char *lh_progress_report(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_send_stats *stats)
{
    char parts[N_PARTS][64];

    fill_parts(parts, stats);
    return enumerate(out, parts);
}

/* Of a tree, how many files; while it is walked no part of the whole is known. */
static void fill_tree_parts(char parts[N_PARTS][64], const struct lh_tree_stats *stats)
{
    const char *plus = stats->walking ? "+" : "";

    fill_parts(parts, &stats->send);
    snprintf(parts[FILES], sizeof(parts[0]), "%" PRIu64 " of %" PRIu64 "%s files",
             stats->files_sent + stats->files_kept, stats->files_total, plus);
    if (stats->links > 0) { /* hard links come last, and may be millions */
        size_t len = strlen(parts[FILES]);

        snprintf(parts[FILES] + len, sizeof(parts[0]) - len, ", %" PRIu64 " link%s", stats->links,
                 stats->links == 1 ? "" : "s");
    }
    if (!stats->walking)
        return;
    parts[PERCENT][0] = '\0';
    strcat(parts[BYTES], plus);
    strcat(parts[ETA], plus);
}

char *lh_progress_tree_bar(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_tree_stats *stats,
                           unsigned width)
{
    char parts[N_PARTS][64];

    fill_tree_parts(parts, stats);
    return lay_out(out, parts, &stats->send, !stats->walking, width);
}

char *lh_progress_tree_report(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_tree_stats *stats)
{
    char parts[N_PARTS][64];

    fill_tree_parts(parts, stats);
    return enumerate(out, parts);
}

/* Below a minute with a fraction: small files take no time to speak of. */
static char *took_text(char *out, size_t size, double seconds)
{
    if (seconds >= 59.95)
        return lh_text_duration(out, size, (uint64_t)(seconds + 0.5));
    snprintf(out, size, "%.*f s", seconds < 0.9995 ? 3 : 1, seconds);
    return out;
}

char *lh_progress_summary(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_send_stats *stats)
{
    char total[24];
    char took[24];
    char bytes[24];
    char bits[24];

    snprintf(out, LH_PROGRESS_TEXT_SIZE, "%s in %s, %s/s (%s)",
             lh_text_bytes(total, sizeof(total), stats->bytes_total),
             took_text(took, sizeof(took), stats->duration_s),
             lh_text_bytes(bytes, sizeof(bytes), stats->rate_bps / 8),
             lh_progress_rate(bits, sizeof(bits), stats->rate_bps));
    return out;
}

static void add(char out[LH_PROGRESS_TEXT_SIZE], const char *format_end, const char *number)
{
    size_t used = strlen(out);

    snprintf(out + used, LH_PROGRESS_TEXT_SIZE - used, "%s%s%s", used > 0 ? ", " : "", number,
             format_end);
}

char *lh_progress_remarks(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_send_stats *stats)
{
    uint64_t not_sent = stats->bytes_skipped + stats->bytes_holes;
    uint64_t needed = not_sent < stats->bytes_total ? stats->bytes_total - not_sent : 0;
    char number[24];

    out[0] = '\0';
    if (stats->bytes_skipped > 0)
        add(out, " were there already",
            lh_text_bytes(number, sizeof(number), stats->bytes_skipped));
    if (stats->bytes_holes > 0)
        add(out, " of holes", lh_text_bytes(number, sizeof(number), stats->bytes_holes));
    if (stats->bytes_sent > needed)
        add(out, " sent again", lh_text_bytes(number, sizeof(number), stats->bytes_sent - needed));
    if (stats->retransmits > 0) {
        snprintf(number, sizeof(number), "%" PRIu64, stats->retransmits);
        add(out, stats->retransmits == 1 ? " TCP retransmit" : " TCP retransmits", number);
    }
    if (stats->reconnects > 0) {
        snprintf(number, sizeof(number), "%u", (unsigned)stats->reconnects);
        add(out, stats->reconnects == 1 ? " reconnect" : " reconnects", number);
    }
    if (stats->verification_failures > 0) {
        snprintf(number, sizeof(number), "%" PRIu64, stats->verification_failures);
        add(out,
            stats->verification_failures == 1 ? " block arrived damaged and was sent again"
                                              : " blocks arrived damaged and were sent again",
            number);
    }
    if (stats->restarted)
        add(out, "the source changed on the way: sent from the beginning, once", "");
    return out;
}

char *lh_progress_tree_summary(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_tree_stats *stats)
{
    struct lh_send_stats sent = stats->send;
    char rest[LH_PROGRESS_TEXT_SIZE];
    double per_s = sent.duration_s > 0 ? (double)stats->files_sent / sent.duration_s : 0;

    /* Only what this run has moved. */
    sent.bytes_total = sent.bytes_durable - sent.bytes_skipped;
    snprintf(out, LH_PROGRESS_TEXT_SIZE, "%" PRIu64 " file%s, %.400s, %.*f files/s",
             stats->files_sent, stats->files_sent == 1 ? "" : "s", lh_progress_summary(rest, &sent),
             per_s < 9.95 ? 1 : 0, per_s);
    return out;
}

static void add_count(char out[LH_PROGRESS_TEXT_SIZE], uint64_t n, const char *one,
                      const char *many)
{
    char number[24];

    if (n == 0)
        return;
    snprintf(number, sizeof(number), "%" PRIu64 " ", n);
    add(out, n == 1 ? one : many, number);
}

char *lh_progress_tree_remarks(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_tree_stats *stats)
{
    struct lh_send_stats way = stats->send;
    char rest[LH_PROGRESS_TEXT_SIZE];

    out[0] = '\0';
    add_count(out, stats->files_kept, "file was there already", "files were there already");
    add_count(out, stats->dirs, "directory", "directories");
    add_count(out, stats->links, "link", "links");
    add_count(out, stats->others, "FIFO, socket or device", "FIFOs, sockets and devices");
    add_count(out, stats->skipped_special, "FIFO, socket or device left out (--devices)",
              "FIFOs, sockets and devices left out (--devices)");
    add_count(out, stats->removed, "removed", "removed");
    /* Bytes were counted above, as files; what travels of a tree is more than its contents. */
    way.bytes_skipped = 0;
    way.bytes_sent = 0;
    lh_progress_remarks(rest, &way);
    if (rest[0] != '\0')
        add(out, rest, "");
    return out;
}
