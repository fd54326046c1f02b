/* Words of tasks: their ids, priorities, states, outcomes and what a tree keeps, as text and back.
 *
 * Pure; any thread. Names are static. What is no word is -1, 0 or false; a number without a name is
 * a bug of the caller's. */
#include "queue/task.h"

#include <stdio.h>
#include <string.h>

static const char *const priorities[] = {"high", "normal", "low"};
static const char *const states[] = {"queued", "active", "delayed",  "paused",
                                     "done",   "dead",   "cancelled"};
static const char *const outcomes[] = {"done", "retry", "dead", "paused", "cancelled", "deferred"};
static const char *const preserved[] = {"mode", "times", "owner", "xattrs", "acl", "hardlinks"};
static const char *const links_names[] = {"keep", "follow", "skip"};
static const char *const existings[] = {"different", "skip", "replace", "newer"};

#define N_PRESERVED (sizeof(preserved) / sizeof(preserved[0]))

_Static_assert(sizeof(priorities) / sizeof(priorities[0]) == LH_N_PRIORITIES, "one name each");
_Static_assert(sizeof(states) / sizeof(states[0]) == LH_N_TASK_STATES, "one name each");
_Static_assert(sizeof(outcomes) / sizeof(outcomes[0]) == LH_N_OUTCOMES, "one name each");

bool lh_task_id_valid(const char *text, size_t len)
{
    if (len == 0 || len >= LH_TASK_ID_SIZE)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if ((c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' &&
            c != '_' && c != '-')
            return false;
    }
    return true;
}

static int place(const char *const *names, int n, const char *text, size_t len)
{
    for (int i = 0; i < n; i++) {
        if (strlen(names[i]) == len && memcmp(names[i], text, len) == 0)
            return i;
    }
    return -1;
}

const char *lh_priority_name(enum lh_priority priority)
{
    LH_REQUIRE((unsigned)priority < LH_N_PRIORITIES);
    return priorities[priority];
}

int lh_priority_parse(const char *text, size_t len)
{
    return place(priorities, LH_N_PRIORITIES, text, len);
}

const char *lh_task_state_name(enum lh_task_state state)
{
    LH_REQUIRE((unsigned)state < LH_N_TASK_STATES);
    return states[state];
}

int lh_task_state_parse(const char *text, size_t len)
{
    return place(states, LH_N_TASK_STATES, text, len);
}

const char *lh_task_outcome_name(enum lh_task_outcome outcome)
{
    LH_REQUIRE((unsigned)outcome < LH_N_OUTCOMES);
    return outcomes[outcome];
}

const char *lh_task_existing_name(enum lh_existing existing)
{
    LH_REQUIRE((unsigned)existing < sizeof(existings) / sizeof(existings[0]));
    return existings[existing];
}

const char *lh_task_links_name(enum lh_links links)
{
    LH_REQUIRE((unsigned)links < sizeof(links_names) / sizeof(links_names[0]));
    return links_names[links];
}

unsigned lh_task_preserve_parse(const char *text, size_t len)
{
    int bit = place(preserved, N_PRESERVED, text, len);

    return bit >= 0 ? 1u << bit : 0;
}

char *lh_task_preserve_text(char out[LH_TASK_PRESERVE_SIZE], unsigned preserve)
{
    size_t used = 0;

    snprintf(out, LH_TASK_PRESERVE_SIZE, "none");
    for (size_t i = 0; i < N_PRESERVED; i++) {
        if ((preserve & 1u << i) != 0)
            used += (size_t)snprintf(out + used, LH_TASK_PRESERVE_SIZE - used, "%s%s",
                                     used > 0 ? "," : "", preserved[i]);
    }
    return out;
}
