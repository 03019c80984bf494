/*
 * cli/table.h - a list of the server's as columns of text.
 */
#ifndef SLUICE_CLI_TABLE_H
#define SLUICE_CLI_TABLE_H

#include "cli/client.h"

/*
 * GETs all pages of the list at `path`, which has a query already, and prints its JSON objects by `columns`,
 * "TITLE=member TITLE=member.of.member"; as JSON, a page after the other, with client.as_json. Of an empty list stderr
 * says so. 0, or 1: client_call has explained it.
 */
MUST_CHECK int table_list(const struct client *c, const char *path, const char *columns);

#endif
