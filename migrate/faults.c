/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/faults.c - see migrate/faults.h; a shipped build has no points, and says so. */
#include "migrate/faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "migrate/report.h"

#ifdef PF_WITH_FAULT_POINTS

const char *pf_faults_built(void)
{
	return " (with fault points: for tests only)";
}

int pf_faults_arm(void)
{
	const char *plans = getenv("PAGEFERRY_FAULT");
	pf_auto_free char *mine = plans ? strndup(plans, strcspn(plans, ";")) : NULL;
	struct pf_err err;

	if (pf_fault_arm(mine && mine[0] ? mine : NULL, &err) == 0)
		return 0;
	pf_report("fault points", &err);
	return pf_err_exit_code(&err);
}

void pf_faults_next(void)
{
	const char *plans = getenv("PAGEFERRY_FAULT"), *rest = plans ? strchr(plans, ';') : NULL;
	pf_auto_free char *next = rest ? strdup(rest + 1) : NULL;

	if (next)
		(void)setenv("PAGEFERRY_FAULT", next, 1);
	else
		(void)unsetenv("PAGEFERRY_FAULT");
}

static int list(void)
{
	for (enum pf_fault_point point = 0; point < PF_FAULT_COUNT_; point++)
		printf("%-20s %-12s %s\n", pf_fault_table[point].name, pf_fault_table[point].side,
		       pf_fault_table[point].meaning);
	return 0;
}

#else

const char *pf_faults_built(void)
{
	return "";
}

int pf_faults_arm(void)
{
	return 0;
}

void pf_faults_next(void)
{
}

static int list(void)
{
	struct pf_err err;

	pf_err_set(&err, PF_ERR_STATE, "this build has none");
	pf_err_hint(&err, "tests use one that was made with: ./configure --enable-fault-points");
	pf_report("fault-points", &err);
	return pf_err_exit_code(&err);
}

#endif

int pf_faults_main(int argc, char **argv)
{
	struct pf_err err;

	if (argc == 1)
		return list();
	pf_err_set(&err, PF_ERR_USAGE, "it takes no arguments");
	pf_report(argv[0], &err);
	return pf_err_exit_code(&err);
}
