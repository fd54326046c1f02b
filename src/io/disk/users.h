/* The data base of users and groups: names by numbers, numbers by names.
 *
 * Thread: any that may block for as long as that data base takes. */
#ifndef LH_IO_USERS_H
#define LH_IO_USERS_H

#include "proto/owners.h"

#include <stdbool.h>
#include <stdint.h>

/* kind: LH_OWNER_USER or LH_OWNER_GROUP. Each returns 0 with *found and, when it is, what was asked
 * for; ENOMEM, or the errno of a data base that cannot be asked. */
int lh_users_id_of(uint8_t kind, const char *name, bool *found, uint32_t *id);
/* A name too long to be told counts as none. */
int lh_users_name_of(uint8_t kind, uint32_t id, bool *found, char name[LH_OWNER_NAME_MAX + 1]);

#endif
