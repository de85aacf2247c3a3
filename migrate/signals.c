/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/signals.c - see migrate/signals.h; signal(7) has the default of each. */
#include "migrate/signals.h"

#include <stdbool.h>
#include <stddef.h>

static const int unless_ignored[] = {SIGINT, SIGHUP, SIGQUIT};

/* SIGPIPE and SIGXFSZ are errors of write(2) for the whole program: main.c.  What a fault of the program's own
 * raises (SIGSEGV, SIGBUS, SIGABRT and the like) stays: the keeper starts another worker. */
static const int strays[] = {SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGPOLL, SIGPWR, SIGSTKFLT, SIGXCPU};

static bool is_ignored(int number)
{
	struct sigaction now;

	return sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

void pf_signals_heard(sigset_t *out)
{
	sigemptyset(out);
	sigaddset(out, SIGTERM);
	for (size_t i = 0; i < sizeof(unless_ignored) / sizeof(unless_ignored[0]); i++)
		if (!is_ignored(unless_ignored[i]))
			sigaddset(out, unless_ignored[i]);
}

void pf_signals_ignore_strays(void)
{
	for (size_t i = 0; i < sizeof(strays) / sizeof(strays[0]); i++)
		(void)signal(strays[i], SIG_IGN);
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
		(void)signal(number, SIG_IGN);
}
