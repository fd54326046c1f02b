/* What --help and the manual page say, from the tables in option_table.c. Main thread only. */
#ifndef LH_CLI_HELP_H
#define LH_CLI_HELP_H

#include "cli/options.h"

#include <stdio.h>

void lh_help_overview(FILE *out);
void lh_help_command(FILE *out, enum lh_command command);
void lh_help_man(FILE *out); /* roff, for man(7) */

#endif
