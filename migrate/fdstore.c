/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/fdstore.c - see migrate/fdstore.h. */
#include "migrate/fdstore.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/size.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

static size_t find(const struct pf_fdstore *store, const char *name)
{
	size_t i = 0;

	while (i < store->count && strcmp(store->entry[i].name, name) != 0)
		i++;
	return i;
}

/* Narrower than systemd's: what a name of ours can be, and no more. */
static bool is_name(const char *name)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < length; i++)
		if (!islower((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) &&
		    name[i] != '-')
			return false;
	return length > 0 && length <= PF_FDSTORE_NAME_MAX;
}

int pf_fdstore_put(struct pf_fdstore *store, const char *name, int fd, struct pf_err *err)
{
	size_t at = find(store, name);

	if (!is_name(name)) {
		pf_close_fd(&fd);
		return pf_err_set(err, PF_ERR_PROTOCOL, "a descriptor without a name of the store");
	}
	if (at == PF_FDSTORE_MAX) {
		pf_close_fd(&fd);
		return pf_err_set(err, PF_ERR_PROTOCOL, "more than %u descriptors in the store",
				  PF_FDSTORE_MAX);
	}
	if (at == store->count)
		store->count++;
	else
		close(store->entry[at].fd);
	store->entry[at].fd = fd;
	memcpy(store->entry[at].name, name, strlen(name) + 1);
	return 0;
}

int pf_fdstore_look(const struct pf_fdstore *store, const char *name)
{
	size_t at = find(store, name);

	return at < store->count ? store->entry[at].fd : -1;
}

int pf_fdstore_take(struct pf_fdstore *store, const char *name)
{
	size_t at = find(store, name);
	int fd;

	if (at == store->count)
		return -1;
	fd = store->entry[at].fd;
	store->entry[at] = store->entry[--store->count];
	return fd;
}

void pf_fdstore_remove(struct pf_fdstore *store, const char *name)
{
	int fd = pf_fdstore_take(store, name);

	pf_close_fd(&fd);
}

void pf_fdstore_close(struct pf_fdstore *store)
{
	while (store->count > 0)
		close(store->entry[--store->count].fd);
}

/* ---- handing on ---- */

int pf_fdstore_inherit(struct pf_fdstore *store, struct pf_err *err)
{
	char **names = NULL;
	int count = sd_listen_fds_with_names(1, &names);

	store->count = 0;
	if (count < 0) {
		errno = -count;
		return pf_err_sys(err, "taking the descriptors of LISTEN_FDS");
	}
	for (int i = 0; i < count; i++) {
		struct pf_err ignored;

		(void)!pf_fdstore_put(store, names[i], FIRST_FD + i, &ignored);
		free(names[i]);
	}
	free(names);
	return 0;
}

static int set_number(const char *name, long number, struct pf_err *err)
{
	char text[24];

	snprintf(text, sizeof(text), "%ld", number);
	return setenv(name, text, 1) == 0 ? 0 : pf_err_sys(err, "setting %s", name);
}

static int set_environment(const struct pf_fdstore *store, struct pf_err *err)
{
	char names[PF_FDSTORE_MAX * (PF_FDSTORE_NAME_MAX + 1) + 1] = "";
	size_t used = 0;

	for (size_t i = 0; i < store->count; i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i ? ":" : "",
					 store->entry[i].name);
	if (set_number("LISTEN_PID", getpid(), err) ||
	    set_number("LISTEN_FDS", (long)store->count, err))
		return -1;
	return setenv("LISTEN_FDNAMES", names, 1) == 0 ? 0
						       : pf_err_sys(err, "setting LISTEN_FDNAMES");
}

int pf_fdstore_hand_on(const struct pf_fdstore *store, struct pf_err *err)
{
	int above = FIRST_FD + (int)store->count, high[PF_FDSTORE_MAX];

	/* Out of the way first: what goes to one number may still be at it under another name. */
	for (size_t i = 0; i < store->count; i++) {
		high[i] = fcntl(store->entry[i].fd, F_DUPFD_CLOEXEC, above);
		if (high[i] < 0)
			return pf_err_sys(err, "handing on '%s'", store->entry[i].name);
	}
	for (size_t i = 0; i < store->count; i++)
		if (dup2(high[i], FIRST_FD + (int)i) < 0)
			return pf_err_sys(err, "handing on '%s'", store->entry[i].name);
	return set_environment(store, err);
}

/* ---- messages ---- */

static int take_name(const char *value, struct pf_notice *out, struct pf_err *err)
{
	if (!is_name(value))
		return pf_err_set(err, PF_ERR_PROTOCOL, "FDNAME is no name of the store");
	memcpy(out->name, value, strlen(value) + 1);
	return 0;
}

static int take_status(const char *value, struct pf_notice *out, struct pf_err *err)
{
	uint64_t number;

	if (pf_number_parse(value, 0, 255, &number, err))
		return pf_err_prefix(err, "EXIT_STATUS");
	out->has_status = true;
	out->status = (int)number;
	return 0;
}

static int take_line(const char *line, struct pf_notice *out, struct pf_err *err)
{
	if (strncmp(line, "FDNAME=", 7) == 0)
		return take_name(line + 7, out, err);
	if (strncmp(line, "EXIT_STATUS=", 12) == 0)
		return take_status(line + 12, out, err);
	if (strcmp(line, "FDSTORE=1") == 0)
		out->store = true;
	else if (strcmp(line, "FDSTOREREMOVE=1") == 0)
		out->remove = true;
	else if (strcmp(line, "READY=1") == 0)
		out->ready = true;
	else if (strcmp(line, "STOPPING=1") == 0)
		out->stopping = true;
	else if (strcmp(line, "WATCHDOG=1") == 0)
		out->watchdog = true;
	return 0;
}

int pf_notice_parse(const char *text, size_t length, struct pf_notice *out, struct pf_err *err)
{
	char copy[PF_NOTICE_MAX + 1];

	*out = (struct pf_notice){.store = false};
	if (length == 0 || length > PF_NOTICE_MAX || memchr(text, '\0', length))
		return pf_err_set(err, PF_ERR_PROTOCOL, "a message of %zu bytes, or no text", length);
	memcpy(copy, text, length);
	copy[length] = '\0';
	for (char *rest = copy, *line; (line = strsep(&rest, "\n"));)
		if (take_line(line, out, err))
			return -1;
	if ((out->store || out->remove) && !out->name[0])
		return pf_err_set(err, PF_ERR_PROTOCOL, "FDSTORE or FDSTOREREMOVE without FDNAME");
	return 0;
}
