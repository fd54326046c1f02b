/* The lists of a duty's tasks, and what moves a task from one to another.
 *
 * Thread and owner: those of the duty. Nothing here fails. */
#include "queue/duty_impl.h"

static struct lh_duty_list *list_of(struct lh_duty *duty, enum lh_duty_state state)
{
    switch (state) {
    case LH_DUTY_WAITING:
        return &duty->waiting;
    case LH_DUTY_MOVING:
    case LH_DUTY_STOPPING:
        return &duty->running;
    case LH_DUTY_HELD:
        return &duty->held;
    case LH_DUTY_TOLD:
        return &duty->told;
    case LH_DUTY_LEAVING:
        return &duty->leaving;
    default:
        return &duty->over;
    }
}

void lh_duty_append(struct lh_duty *duty, struct lh_duty_task *task, enum lh_duty_state state)
{
    struct lh_duty_list *list = list_of(duty, state);

    task->state = state;
    task->next = NULL;
    task->prev = list->last;
    if (list->last != NULL)
        list->last->next = task;
    else
        list->first = task;
    list->last = task;
    list->n++;
}

void lh_duty_unlink(struct lh_duty *duty, struct lh_duty_task *task)
{
    struct lh_duty_list *list = list_of(duty, task->state);

    if (task->prev != NULL)
        task->prev->next = task->next;
    else
        list->first = task->next;
    if (task->next != NULL)
        task->next->prev = task->prev;
    else
        list->last = task->prev;
    list->n--;
    if (list == &duty->running)
        duty->stuck = false;
}

void lh_duty_move(struct lh_duty *duty, struct lh_duty_task *task, enum lh_duty_state state)
{
    lh_duty_unlink(duty, task);
    lh_duty_append(duty, task, state);
}

size_t lh_duty_total(const struct lh_duty *duty)
{
    return duty->waiting.n + duty->running.n + duty->held.n + duty->told.n + duty->leaving.n +
           duty->over.n;
}

uint32_t lh_duty_chance(struct lh_duty *duty)
{
    uint64_t z = duty->rng += 0x9e3779b97f4a7c15u; /* splitmix64 */

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

void lh_duty_hold(struct lh_duty *duty, struct lh_duty_task *task, enum lh_task_outcome outcome,
                  uint64_t due_ms)
{
    task->outcome = outcome;
    task->due_ms = due_ms;
    lh_duty_move(duty, task, LH_DUTY_HELD);
}

void lh_duty_ask_send(struct lh_duty *duty, struct lh_duty_task *task, bool *what)
{
    if (!task->cancel && !task->confirm)
        duty->n_acts++;
    *what = true;
}

void lh_duty_acted(struct lh_duty *duty, struct lh_duty_task *task)
{
    if (task->cancel || task->confirm)
        duty->n_acts--;
    task->cancel = false;
    task->confirm = false;
}

void lh_duty_let_go(struct lh_duty *duty, struct lh_duty_task *task, bool forget)
{
    if (!task->sending || !task->delivered)
        return;
    task->delivered = false;
    task->forget = forget;
    lh_duty_ask_send(duty, task, &task->confirm);
}

void lh_duty_settle(struct lh_duty *duty, struct lh_duty_task *task, enum lh_duty_end end,
                    bool forget)
{
    task->end = end;
    lh_duty_let_go(duty, task, forget);
    lh_duty_move(duty, task, task->sending ? LH_DUTY_LEAVING : LH_DUTY_OVER);
}
