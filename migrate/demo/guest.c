/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/guest.c - see migrate/demo/guest.h. */
#include "migrate/demo/guest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/size.h"

/* A guest that walks has no event for "one more visit": its counter is read this often. */
#define ASK_AGAIN_NS (20 * PF_NS_PER_MS)
#define ANSWER_NS (60 * PF_NS_PER_S)

static const struct {
	const char *text;
	enum pf_guest_word word;
} words[] = {
	{"running", PF_GUEST_RUNNING},	   {"paused", PF_GUEST_PAUSED},
	{"continued", PF_GUEST_CONTINUED}, {"released", PF_GUEST_RELEASED},
	{"accepted", PF_GUEST_ACCEPTED},   {"loading", PF_GUEST_LOADING},
	{"ready", PF_GUEST_READY},	   {"resumed", PF_GUEST_RESUMED},
	{"complete", PF_GUEST_COMPLETE},
};

#define NUMBER(label, member)                                                                      \
	{                                                                                          \
		label, offsetof(struct pf_guest_answer, member), 0                                 \
	}
#define TEXT(label, member)                                                                        \
	{                                                                                          \
		label, offsetof(struct pf_guest_answer, member),                                   \
			sizeof(((struct pf_guest_answer *)0)->member)                              \
	}

static const struct {
	const char *name;
	size_t offset;
	size_t size; /* of a text; 0: a number */
} values[PF_GUEST_VALUES] = {
	[PF_GUEST_BACKEND] = TEXT("backend", backend),
	[PF_GUEST_VCPUS] = NUMBER("vcpus", vcpus),
	[PF_GUEST_MEMORY_BYTES] = NUMBER("memory-bytes", memory_bytes),
	[PF_GUEST_VISITS] = NUMBER("visits", visits),
	[PF_GUEST_VISITS_HERE] = NUMBER("visits-here", visits_here),
	[PF_GUEST_PAGES_TOUCHED_HERE] = NUMBER("pages-touched-here", pages_touched_here),
	[PF_GUEST_HEARTBEATS] = NUMBER("heartbeats", heartbeats),
	[PF_GUEST_WORST_STALL_US] = NUMBER("worst-stall-us", worst_stall_us),
	[PF_GUEST_DOWNTIME_GUEST_US] = NUMBER("downtime-guest-us", downtime_guest_us),
	[PF_GUEST_VERDICT] = TEXT("verdict", verdict),
};

#define KNOWN_VISITS (1u << PF_GUEST_VISITS)
#define KNOWN_VERDICT (1u << PF_GUEST_VERDICT)

static int take_value(struct pf_demo_guest *guest, size_t which, const char *text,
		      struct pf_err *err)
{
	char *member = (char *)&guest->answer + values[which].offset;
	uint64_t number;

	if (values[which].size > 0) {
		snprintf(member, values[which].size, "%s", text);
	} else {
		if (pf_number_parse(text, 0, UINT64_MAX, &number, err)) {
			err->class = PF_ERR_PROTOCOL;
			return pf_err_prefix(err, "the guest's %s", values[which].name);
		}
		memcpy(member, &number, sizeof(number));
	}
	guest->answer.known |= 1u << which;
	return 0;
}

int pf_demo_guest_take(struct pf_demo_guest *guest, const char *line, struct pf_err *err)
{
	const char *colon = strstr(line, ": ");

	for (size_t i = 0; i < PF_ARRAY_LEN(words); i++) {
		if (strcmp(line, words[i].text) == 0) {
			guest->words |= words[i].word;
			return 0;
		}
	}
	for (size_t i = 0; colon && i < PF_ARRAY_LEN(values); i++)
		if (strlen(values[i].name) == (size_t)(colon - line) &&
		    strncmp(line, values[i].name, (size_t)(colon - line)) == 0)
			return take_value(guest, i, colon + 2, err);
	if (strncmp(line, "error: ", 7) == 0)
		return pf_err_set(err, PF_ERR_STATE, "the guest says: %s", line + 7);
	/* More than the demo knows is not an error: the guest's report may grow. */
	if (colon)
		return 0;
	return pf_err_set(err, PF_ERR_PROTOCOL, "the guest says something unknown: %.80s", line);
}

static int take_lines(struct pf_demo_guest *guest, struct pf_err *err)
{
	char *start = guest->buffer, *end;
	int failed = 0;

	guest->buffer[guest->used] = '\0';
	while (!failed && (end = strchr(start, '\n'))) {
		*end = '\0';
		failed = pf_demo_guest_take(guest, start, err);
		start = end + 1;
	}
	guest->used -= (size_t)(start - guest->buffer);
	memmove(guest->buffer, start, guest->used);
	if (failed)
		return pf_err_prefix(err, "%s", guest->child->name);
	if (guest->used < sizeof(guest->buffer) - 1)
		return 0;
	guest->used = 0;
	return pf_err_set(err, PF_ERR_PROTOCOL, "%s: a line of more than %zu bytes",
			  guest->child->name, sizeof(guest->buffer) - 1);
}

int pf_demo_guest_read(struct pf_demo_guest *guest, struct pf_err *err)
{
	while (take_lines(guest, err) == 0) {
		size_t room = sizeof(guest->buffer) - 1 - guest->used;
		ssize_t got = read(guest->child->from, guest->buffer + guest->used, room);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return 0;
		if (got < 0) {
			pf_err_sys(err, "reading from the %s", guest->child->name);
			pf_close_fd(&guest->child->from);
			return -1;
		}
		if (got == 0) { /* its end is the children's business: pf_children_wait() */
			pf_close_fd(&guest->child->from);
			return 0;
		}
		guest->used += (size_t)got;
	}
	return -1;
}

int pf_demo_guest_drain(struct pf_demo_guest *guest, struct pf_err *err)
{
	struct pf_err more;
	int failed = 0;

	while (guest->child && guest->child->from >= 0 &&
	       pf_demo_guest_read(guest, failed ? &more : err))
		failed = -1;
	return failed;
}

/* Waits until one of the wanted words was said or the wanted value given. */
static int await(struct pf_demo_guest *guest, struct pf_children *children, unsigned word,
		 unsigned value, uint64_t deadline_ns, struct pf_err *err)
{
	for (;;) {
		int woken;

		if (guest->child->from >= 0 && pf_demo_guest_read(guest, err))
			return -1;
		if ((guest->words & word) || (guest->answer.known & value))
			return 0;
		if (guest->child->ended && guest->child->from < 0)
			return pf_err_set(err, PF_ERR_STATE, "the %s ended without its answer",
					  guest->child->name);
		woken = pf_children_wait(children, &guest->child->from, 1, deadline_ns, err);
		if (woken < 0)
			return -1;
		if (woken == 1)
			return 1;
	}
}

int pf_demo_guest_await(struct pf_demo_guest *guest, struct pf_children *children,
			enum pf_guest_word word, uint64_t deadline_ns, struct pf_err *err)
{
	const char *text = "?";
	int waited = await(guest, children, word, 0, deadline_ns, err);

	if (waited <= 0)
		return waited;
	for (size_t i = 0; i < PF_ARRAY_LEN(words); i++)
		if (words[i].word == word)
			text = words[i].text;
	return pf_err_set(err, PF_ERR_STATE, "the %s did not become `%s` in time",
			  guest->child->name, text);
}

static int ask(struct pf_demo_guest *guest, const char *question, struct pf_err *err)
{
	size_t length = strlen(question);

	/* A few bytes into an empty pipe: all or nothing (pipe(7), PIPE_BUF). */
	if (write(guest->child->to, question, length) != (ssize_t)length)
		return pf_err_sys(err, "asking the %s for its %.6s", guest->child->name, question);
	return 0;
}

int pf_demo_guest_visits(struct pf_demo_guest *guest, struct pf_children *children,
			 uint64_t deadline_ns, uint64_t *out_visits, struct pf_err *err)
{
	int waited;

	guest->answer.known &= ~KNOWN_VISITS; /* and no verdict that came unasked */
	if (ask(guest, "status\n", err))
		return -1;
	waited = await(guest, children, 0, KNOWN_VISITS, deadline_ns, err);
	if (waited == 1)
		return pf_err_set(err, PF_ERR_STATE, "the %s did not answer `status` in time",
				  guest->child->name);
	*out_visits = guest->answer.visits;
	return waited;
}

int pf_demo_guest_walk(struct pf_demo_guest *guest, struct pf_children *children, uint64_t visits,
		       uint64_t deadline_ns, struct pf_err *err)
{
	uint64_t done = 0, now;

	while ((now = pf_now_ns()) < deadline_ns) {
		uint64_t again = now + ASK_AGAIN_NS;

		if (pf_demo_guest_visits(guest, children, now + ANSWER_NS, &done, err))
			return -1;
		if (done >= visits)
			return 0;
		while (pf_now_ns() < again)
			if (pf_children_wait(children, NULL, 0, again, err) < 0)
				return -1;
	}
	return pf_err_set(err, PF_ERR_STATE,
			  "the guest (%s) has made %" PRIu64 " visits, %" PRIu64
			  " were expected by now",
			  guest->child->name, done, visits);
}

int pf_demo_guest_finish(struct pf_demo_guest *guest, struct pf_children *children,
			 uint64_t deadline_ns, struct pf_err *err)
{
	int waited;

	if (pf_demo_guest_different(&guest->answer))
		return 0;
	guest->answer.known = 0;
	guest->child->end = PF_END_ANY;
	if (ask(guest, "finish\n", err))
		return -1;
	waited = await(guest, children, 0, KNOWN_VERDICT, deadline_ns, err);
	if (waited == 1)
		return pf_err_set(err, PF_ERR_STATE, "the %s gave no verdict in time",
				  guest->child->name);
	if (waited < 0)
		return -1;
	if (pf_demo_guest_different(&guest->answer))
		return 0;
	for (size_t i = 0; i < PF_ARRAY_LEN(values); i++)
		if (!(guest->answer.known & (1u << i)))
			return pf_err_set(err, PF_ERR_PROTOCOL, "the %s did not report its %s",
					  guest->child->name, values[i].name);
	return 0;
}

bool pf_demo_guest_identical(const struct pf_guest_answer *answer)
{
	char expected[sizeof(answer->verdict)];

	snprintf(expected, sizeof(expected), "identical (%" PRIu64 " bytes)", answer->memory_bytes);
	return pf_demo_guest_knows(answer, PF_GUEST_VERDICT) &&
	       strcmp(answer->verdict, expected) == 0;
}

bool pf_demo_guest_different(const struct pf_guest_answer *answer)
{
	static const char word[] = "DIFFERENT ";

	return pf_demo_guest_knows(answer, PF_GUEST_VERDICT) &&
	       strncmp(answer->verdict, word, sizeof(word) - 1) == 0;
}

bool pf_demo_guest_knows(const struct pf_guest_answer *answer, enum pf_guest_value value)
{
	return answer->known & (1u << value);
}
