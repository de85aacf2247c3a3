/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/kept.c - see migrate/kept.h. */
#include "migrate/kept.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "base/unixsock.h"

/*
 * The keeper is what was started: whoever sees it end may start another, and two must not serve one
 * guest.  It may have ended before prctl(2); then its end of the socket is closed.
 */
static int die_with_keeper(struct pf_kept *kept, struct pf_err *err)
{
	char ignored;

	kept->keeper = getppid();
	(void)prctl(PR_SET_NAME, "pageferry", 0, 0, 0); /* not "exe", as it was executed */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
		return pf_err_sys(err, "asking to end with the keeper");
	if (recv(kept->keeper_fd, &ignored, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		return pf_err_set(err, PF_ERR_SYSTEM, "the keeper is gone");
	return 0;
}

int pf_kept_open(struct pf_kept *kept, struct pf_err *err)
{
	const char *silence;

	*kept = (struct pf_kept){.keeper_fd = -1};
	if (pf_fdstore_inherit(&kept->store, err))
		return -1;
	kept->keeper_fd = pf_fdstore_take(&kept->store, PF_KEPT_KEEPER);
	if (kept->keeper_fd < 0)
		return 0;
	kept->restarted = getenv(PF_KEPT_RESTARTED);
	kept->stored = getenv(PF_KEPT_STORED) != NULL;
	silence = getenv(PF_KEPT_SILENCE);
	if (silence && pf_number_parse(silence, 0, UINT64_MAX, &kept->silence_ns, err))
		return pf_err_prefix(err, PF_KEPT_SILENCE);
	return die_with_keeper(kept, err);
}

void pf_kept_close(struct pf_kept *kept)
{
	pf_fdstore_close(&kept->store);
	pf_close_fd(&kept->keeper_fd);
}

int pf_kept_take(struct pf_kept *kept, const char *name)
{
	return pf_fdstore_take(&kept->store, name);
}

static int say(const struct pf_kept *kept, const char *text, int fd, struct pf_err *err)
{
	if (kept->keeper_fd < 0)
		return 0;
	if (pf_unix_send(kept->keeper_fd, text, strlen(text), &fd, fd < 0 ? 0 : 1, err) == 0)
		return 0;
	return pf_err_prefix(err, "telling the keeper '%.*s'", (int)strcspn(text, "\n"), text);
}

/* What it says of itself: without the keeper this process is about to end anyway. */
static void tell(const struct pf_kept *kept, const char *text)
{
	struct pf_err err;

	if (say(kept, text, -1, &err))
		fprintf(stderr, "pageferry: %s\n", err.text);
}

int pf_kept_store(struct pf_kept *kept, const char *name, int fd, struct pf_err *err)
{
	char text[PF_NOTICE_MAX];

	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	return say(kept, text, fd, err);
}

void pf_kept_forget(struct pf_kept *kept, const char *name)
{
	char text[PF_NOTICE_MAX];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	tell(kept, text);
}

int pf_kept_listen(struct pf_kept *kept, const char *name, const char *path, int type,
		   struct pf_err *err)
{
	pf_auto_fd int fd = pf_kept_take(kept, name);

	if (fd >= 0)
		return pf_steal_fd(&fd);
	fd = pf_unix_listen(path, type, err);
	if (fd < 0 || pf_kept_store(kept, name, fd, err))
		return -1;
	return pf_steal_fd(&fd);
}

void pf_kept_ready(struct pf_kept *kept)
{
	tell(kept, "READY=1");
}

void pf_kept_alive(struct pf_kept *kept)
{
	tell(kept, "WATCHDOG=1");
}

void pf_kept_stopping(struct pf_kept *kept, int exit_code)
{
	char text[PF_NOTICE_MAX];

	snprintf(text, sizeof(text), "STOPPING=1\nEXIT_STATUS=%d", exit_code);
	tell(kept, text);
}
