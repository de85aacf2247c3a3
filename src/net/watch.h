/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/watch.h - the way to a peer as the kernel has it, and being told that it may be another now.
 *
 * One thread, whose loop waits for pf_watch_fd().  Waits for nobody but the kernel: a question may have to
 * wait until a change of interfaces that is going on is through.  No privileges are needed.
 *
 * What a notification says is never used: it may be older than what is known, others may have been lost
 * (ENOBUFS, when they come faster than they are read), and IPv4 takes the routes of an interface that
 * goes down away without any.  It means that the kernel is to be asked again; so a lost one costs nothing,
 * for the loss is told too.
 */
#ifndef PF_NET_WATCH_H
#define PF_NET_WATCH_H

#include "net/route.h"

enum pf_path_state {
	PF_PATH_UNKNOWN, /* the kernel could not be asked: no reason to suspect anything */
	PF_PATH_UP,
	PF_PATH_DOWN,	     /* the interface is set down, or is there no more */
	PF_PATH_NO_CARRIER,
	PF_PATH_NOT_RUNNING, /* RFC 2863: dormant, testing, the layer below is down */
	PF_PATH_NO_ADDRESS,  /* the connection's local address is nobody's */
	PF_PATH_NO_ROUTE,
	PF_PATH_STATES
};

struct pf_path {
	enum pf_path_state state;
	struct pf_route route;	       /* without one, of the last there was: the index alone */
	struct pf_interface interface; /* without a name: none is known */
	char why[128];		       /* "": it is up */
};

/* What is otherwise than it was. */
enum pf_path_news {
	PF_PATH_GONE = 1 << 0, /* it had been up */
	PF_PATH_BACK = 1 << 1,
	PF_PATH_MOVED = 1 << 2, /* up, by another interface or gateway, or from another address */
	PF_PATH_MTU = 1 << 3,
	PF_PATH_OTHER = 1 << 4, /* gone for another reason; known for the first time; not known any more */
};

struct pf_watch;

PF_MUST_USE int pf_watch_open(struct pf_watch **out, struct pf_err *err);
void pf_watch_close(struct pf_watch *watch); /* NULL: nothing */
/* Readable: pf_watch_drain(), then look at every path. */
int pf_watch_fd(const struct pf_watch *watch);
/* Takes notifications off the socket; true: there were some, or some were lost. */
bool pf_watch_drain(struct pf_watch *watch);
/* How often some were lost. */
uint64_t pf_watch_overruns(const struct pf_watch *watch);

/* *path holds what was known before, or zeros. */
void pf_watch_look(struct pf_watch *watch, const struct pf_flow *flow, struct pf_path *path);
unsigned pf_path_compare(const struct pf_path *before, const struct pf_path *now);
const char *pf_path_state_name(enum pf_path_state state);

#endif
