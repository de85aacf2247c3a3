/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/fault.c - see base/fault.h; without --enable-fault-points there is nothing here. */
#include "base/fault.h"

#ifdef PF_WITH_FAULT_POINTS

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/size.h"

#define PLANS_MAX 16u
#define ENTRY_MAX 64u

#define SRC "source"
#define DST "destination"
#define BOTH "both"
#define ONE_ROW(id, name, side, meaning) {name, side, meaning},
#define WAY_ROW(id, name, side, meaning) {name, side, meaning}, {"bulk-" name, side, meaning},
#define FRAME_ROW(id, name, sender, receiver)                                                      \
	{name "-sent", sender, #id ": the kernel has it"},                                         \
		{name "-heard", receiver, #id " has come, nothing was done about it"},
#define FRAME_WAY_ROW(id, name, sender, receiver)                                                      \
	{name "-sent", sender, #id ": the kernel has it"},                                         \
		{"bulk-" name "-sent", sender, #id ": the kernel has it"},                         \
		{name "-heard", receiver, #id " has come, nothing was done about it"},             \
		{"bulk-" name "-heard", receiver, #id " has come, nothing was done about it"},

const struct pf_fault_row pf_fault_table[PF_FAULT_COUNT_] = {
	PF_FAULT_TABLE(ONE_ROW, FRAME_ROW, WAY_ROW, FRAME_WAY_ROW)
};

static void stop_here(void)
{
	/* To this very thread (raise(3) uses tgkill(2)): the kernel stops all of them, and this one
	 * before the call returns.  Sent to the process, another thread might take the signal while
	 * this one runs on. */
	(void)raise(SIGSTOP);
}

static void kill_here(void)
{
	(void)kill(getpid(), SIGKILL);
	for (;;)
		(void)pause();
}

/* This thread alone. */
static void hang_here(void)
{
	for (;;)
		(void)poll(NULL, 0, -1);
}

static bool tcp_connected(int fd)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);

	/* A listening socket has no peer; the VMM's and the orchestrator's are AF_UNIX. */
	return getpeername(fd, (struct sockaddr *)&peer, &length) == 0 &&
	       (peer.ss_family == AF_INET || peer.ss_family == AF_INET6);
}

/* shutdown(2) leaves what has come already, which is as lost as the rest when a link is cut. */
static void cut_one(int fd)
{
	char lost[4096];

	(void)shutdown(fd, SHUT_RDWR);
	/* Its thread may close it at this moment; by recv(3) ThreadSanitizer would call that a race, which it is. */
	while (syscall(SYS_recvfrom, fd, lost, sizeof(lost), MSG_DONTWAIT, NULL, NULL) > 0)
		;
}

/* opendir(3) allocates; this may be anywhere. */
static void cut_here(void)
{
	_Alignas(struct dirent64) char buffer[2048];
	pf_auto_fd int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ssize_t got;

	while (dir >= 0 && (got = getdents64(dir, buffer, sizeof(buffer))) > 0) {
		for (ssize_t at = 0; at < got;) {
			const struct dirent64 *entry = (const void *)(buffer + at);
			char *end;
			int fd = (int)strtol(entry->d_name, &end, 10);

			at += entry->d_reclen;
			if (end > entry->d_name && tcp_connected(fd))
				cut_one(fd);
		}
	}
}

static const struct {
	const char *name;
	void (*run)(void);
} actions[] = {
	{"stop", stop_here},
	{"kill", kill_here},
	{"cut", cut_here},
	{"hang", hang_here},
};

static struct plan {
	enum pf_fault_point point;
	uint64_t hit;
	void (*run)(void);
} plans[PLANS_MAX];
static unsigned planned; /* written before there are threads */
static _Atomic uint64_t hits[PF_FAULT_COUNT_];
static _Thread_local bool in_bulk;

/* Which points have a bulk twin: of a WAY and a FRAME_WAY. */
static bool has_twin(enum pf_fault_point point)
{
	const char *next = point + 1 < PF_FAULT_COUNT_ ? pf_fault_table[point + 1].name : "";

	return strncmp(next, "bulk-", 5) == 0 && strcmp(next + 5, pf_fault_table[point].name) == 0;
}

void pf_fault(enum pf_fault_point point)
{
	int saved = errno;
	uint64_t hit;

	if (planned == 0)
		return;
	if (in_bulk && has_twin(point))
		point++;
	hit = atomic_fetch_add(&hits[point], 1) + 1;
	for (unsigned i = 0; i < planned; i++)
		if (plans[i].point == point && plans[i].hit == hit)
			plans[i].run();
	errno = saved;
}

void pf_fault_later(struct pf_fault_due *due, enum pf_fault_point point)
{
	if (planned > 0)
		due->hits[point]++;
}

void pf_fault_now(struct pf_fault_due *due)
{
	if (planned == 0)
		return;
	for (enum pf_fault_point point = 0; point < PF_FAULT_COUNT_; point++)
		for (; due->hits[point] > 0; due->hits[point]--)
			pf_fault(point);
}

void pf_fault_in_bulk(void)
{
	in_bulk = true;
}

/* ---- PAGEFERRY_FAULT ---- */

static int find_point(const char *name, enum pf_fault_point *out, struct pf_err *err)
{
	for (enum pf_fault_point point = 0; point < PF_FAULT_COUNT_; point++) {
		if (strcmp(pf_fault_table[point].name, name) != 0)
			continue;
		*out = point;
		return 0;
	}
	pf_err_set(err, PF_ERR_USAGE, "there is no fault point '%s'", name);
	return pf_err_hint(err, "see: pageferry fault-points");
}

static int find_action(const char *name, struct plan *out, struct pf_err *err)
{
	for (size_t i = 0; i < PF_ARRAY_LEN(actions); i++) {
		if (strcmp(actions[i].name, name) != 0)
			continue;
		out->run = actions[i].run;
		return 0;
	}
	return pf_err_set(err, PF_ERR_USAGE, "'%s' is none of stop, kill, cut and hang", name);
}

/* POINT[:N]=ACTION; takes the text apart. */
static int parse_entry(char *text, struct plan *out, struct pf_err *err)
{
	char *action = strchr(text, '='), *number = strchr(text, ':');

	out->hit = 1;
	if (!action || (number && number > action))
		return pf_err_set(err, PF_ERR_USAGE, "'%s' is not POINT[:N]=stop|kill|cut", text);
	*action = '\0';
	if (number)
		*number = '\0';
	if (find_point(text, &out->point, err) || find_action(action + 1, out, err))
		return -1;
	return number ? pf_number_parse(number + 1, 1, UINT64_MAX, &out->hit, err) : 0;
}

int pf_fault_arm(const char *text, struct pf_err *err)
{
	planned = 0;
	for (const char *at = text, *end; at; at = *end ? end + 1 : NULL) {
		char entry[ENTRY_MAX];

		end = at + strcspn(at, ",");
		if (planned == PLANS_MAX || (size_t)(end - at) >= sizeof(entry))
			return pf_err_set(err, PF_ERR_USAGE,
					  "PAGEFERRY_FAULT: more than %u entries, or one of more than "
					  "%u bytes", PLANS_MAX, ENTRY_MAX - 1);
		memcpy(entry, at, (size_t)(end - at));
		entry[end - at] = '\0';
		if (parse_entry(entry, &plans[planned], err)) {
			planned = 0;
			return pf_err_prefix(err, "PAGEFERRY_FAULT");
		}
		planned++;
	}
	return 0;
}

#endif
