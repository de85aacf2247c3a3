/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/names.c - see net/names.h; getaddrinfo(3), resolv.conf(5). */
#include "net/names.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "net/wait.h"

#define NAMES 16u			 /* twice as many as --connect takes */
#define MOMENT_NS (100 * PF_NS_PER_MS)	 /* for news, where something is known */

/* Its thread's, and of those who wait for it. */
struct lookup {
	unsigned users;
	int done_fd; /* readable: it is over */
	bool over;
	int failure; /* getaddrinfo(3)'s */
	uint64_t began_ns;
	struct pf_addresses found;
	char host[PF_HOST_MAX + 1];
};

static struct name {
	char host[PF_HOST_MAX + 1]; /* "": this place is free */
	struct pf_addresses last;
	struct lookup *lookup; /* NULL: nobody looks just now */
	uint64_t asked_ns;
} names[NAMES];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all that is above */

static void collect(const struct addrinfo *at, struct pf_addresses *out)
{
	out->count = 0;
	for (; at && out->count < PF_NAMES_ADDRESSES; at = at->ai_next) {
		memset(&out->address[out->count], 0, sizeof(out->address[0]));
		memcpy(&out->address[out->count++], at->ai_addr, at->ai_addrlen);
	}
}

static int ask(const char *host, int flags, struct pf_addresses *out)
{
	struct addrinfo want = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = flags,
	};
	struct addrinfo *list = NULL;
	int failure = getaddrinfo(host, NULL, &want, &list);

	if (failure)
		return failure;
	collect(list, out);
	freeaddrinfo(list);
	return 0;
}

static void set_port(struct pf_addresses *addresses, uint16_t port)
{
	struct sockaddr_in in;

	for (uint32_t i = 0; i < addresses->count; i++) {
		memcpy(&in, &addresses->address[i], sizeof(in)); /* sin_port and sin6_port are at one place */
		in.sin_port = htons(port);
		memcpy(&addresses->address[i], &in, sizeof(in));
	}
}

/* ---- the table; all under the lock ---- */

/* NULL: all places are taken by names that are being looked up. */
static struct name *name_of(const char *host)
{
	struct name *oldest = NULL;

	for (unsigned i = 0; i < NAMES; i++) {
		struct name *name = &names[i];

		if (strcmp(name->host, host) == 0)
			return name;
		if (!name->lookup && (!oldest || name->asked_ns < oldest->asked_ns))
			oldest = name;
	}
	if (!oldest)
		return NULL;
	*oldest = (struct name){.asked_ns = pf_now_ns()};
	memcpy(oldest->host, host, strlen(host) + 1);
	return oldest;
}

static void let_go(struct lookup *lookup)
{
	if (--lookup->users > 0)
		return;
	close(lookup->done_fd);
	free(lookup);
}

static void note(struct lookup *lookup)
{
	for (unsigned i = 0; i < NAMES; i++) {
		if (names[i].lookup != lookup)
			continue;
		names[i].lookup = NULL;
		if (lookup->failure == 0)
			names[i].last = lookup->found;
	}
}

/* ---- looking one up ---- */

static void *lookup_thread(void *opaque)
{
	struct lookup *lookup = opaque;
	struct pf_addresses found = {0};
	int failure;

	(void)pthread_setname_np(pthread_self(), "name");
	failure = ask(lookup->host, 0, &found);
	pthread_mutex_lock(&lock);
	lookup->found = found;
	lookup->failure = failure;
	lookup->over = true;
	note(lookup);
	(void)eventfd_write(lookup->done_fd, 1);
	let_go(lookup);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static int start_thread(struct lookup *lookup)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int failure;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	failure = pthread_create(&thread, &attributes, lookup_thread, lookup);
	pthread_attr_destroy(&attributes);
	return failure;
}

/* users: its thread, and who has it started. */
static struct lookup *start_lookup(const char *host, struct pf_err *err)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));

	if (!lookup) {
		pf_err_set(err, PF_ERR_UNREACHABLE, "out of memory for looking %s up", host);
		return NULL;
	}
	lookup->users = 2;
	lookup->began_ns = pf_now_ns();
	memcpy(lookup->host, host, strlen(host) + 1);
	lookup->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	errno = lookup->done_fd < 0 ? errno : start_thread(lookup);
	if (lookup->done_fd >= 0 && errno == 0)
		return lookup;
	pf_err_sys(err, "starting to look %s up", host);
	err->class = PF_ERR_UNREACHABLE; /* for now */
	pf_close_fd(&lookup->done_fd);
	free(lookup);
	return NULL;
}

/* The one that is under way, or another; *last: what is known already. */
static struct lookup *join_lookup(const char *host, struct pf_addresses *last, struct pf_err *err)
{
	struct lookup *lookup = NULL;
	struct name *name;

	pthread_mutex_lock(&lock);
	name = name_of(host);
	if (!name) {
		pf_err_set(err, PF_ERR_UNREACHABLE, "resolving the name %s: %u others are being looked up", host,
			   NAMES);
	} else {
		*last = name->last;
		name->asked_ns = pf_now_ns();
		if (name->lookup)
			name->lookup->users++;
		else
			name->lookup = start_lookup(host, err);
		lookup = name->lookup;
	}
	pthread_mutex_unlock(&lock);
	return lookup;
}

static int fail(const char *host, const char *why, struct pf_err *err)
{
	pf_err_set(err, PF_ERR_UNREACHABLE, "resolving the name %s: %s", host, why);
	return pf_err_hint(err, "check the name, or give the address as a number");
}

static int leave_lookup(struct lookup *lookup, const struct pf_addresses *last, struct pf_addresses *out,
			struct pf_err *err)
{
	int failed = 0;

	pthread_mutex_lock(&lock);
	if (lookup->over && lookup->failure == 0)
		*out = lookup->found;
	else if (last->count > 0)
		*out = *last;
	else
		failed = fail(lookup->host,
			      lookup->over ? gai_strerror(lookup->failure) : "nobody has answered", err);
	let_go(lookup);
	pthread_mutex_unlock(&lock);
	return failed;
}

static int find_name(const char *host, uint64_t deadline_ns, int cancel_fd, struct pf_addresses *out,
		     struct pf_err *err)
{
	struct pf_addresses last = {0};
	struct lookup *lookup = join_lookup(host, &last, err);
	uint64_t until = deadline_ns;

	if (!lookup)
		return -1;
	if (last.count > 0 && lookup->began_ns + MOMENT_NS < until)
		until = lookup->began_ns + MOMENT_NS;
	/* However it ends: what there is then is looked at. */
	(void)!pf_wait_fd(lookup->done_fd, POLLIN, until, cancel_fd);
	return leave_lookup(lookup, &last, out, err);
}

int pf_names_find(const struct pf_endpoint *endpoint, uint64_t deadline_ns, int cancel_fd,
		  struct pf_addresses *out, struct pf_err *err)
{
	/* Also "fe80::1%eth0", of which inet_pton(3) knows nothing. */
	if (ask(endpoint->host, AI_NUMERICHOST, out) != 0 &&
	    find_name(endpoint->host, deadline_ns, cancel_fd, out, err))
		return -1;
	set_port(out, endpoint->port);
	return 0;
}

void pf_names_know(const char *host, const struct sockaddr_storage *address)
{
	struct name *name;

	pthread_mutex_lock(&lock);
	name = strlen(host) <= PF_HOST_MAX ? name_of(host) : NULL;
	if (name)
		name->last = (struct pf_addresses){.count = 1, .address = {*address}};
	pthread_mutex_unlock(&lock);
}
