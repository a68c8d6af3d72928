/*
 * fs/http.h -- what a mount and its node say over HTTP
 *
 *   GET /health    this daemon answers; "connected" tells if there is a master
 *   GET /metrics   all counters, for Prometheus
 *
 * Threads   Any; answers come from mc-http, which reads counters and takes
 *           node_lock() for a moment.
 */
#ifndef FS_HTTP_H
#define FS_HTTP_H

#include "engine/http/http.h"
#include "fs/fs.h"

/* Serve until http_close(), which comes before the node is closed. */
MC_MUST_CHECK enum mc_status fs_http_open(struct fs *fs, const char *listen, struct http **http);

#endif
