/*
 * master/turn.h -- what the master does at the end of each turn of its loop
 *
 * Threads   The master's.
 */
#ifndef MASTER_TURN_H
#define MASTER_TURN_H

#include "master/state.h"

/* The callbacks of the server. */
extern const struct server_ops turn_server_ops;

/* Write what was touched to the journal.  False: it could not be. */
bool turn_journal(struct mc_master *master);

#endif
