/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/report.c - see tests/guest/report.h. */
#include "tests/guest/report.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"

void pf_report_word(const char *word)
{
	printf("%s\n", word);
}

void pf_report_visits(struct pf_machine *machine)
{
	printf("visits-of-each:");
	for (uint32_t i = 0; i < machine->plan.vcpus; i++)
		printf(" %" PRIu64, atomic_load(&machine->vcpu[i].visits));
	printf("\nvisits: %" PRIu64 "\n", pf_machine_visits(machine));
}

void pf_report_lost(uint32_t vcpu, uint64_t gpa)
{
	printf("lost: vCPU %" PRIu32 " at 0x%" PRIx64 "\n", vcpu, gpa);
}

void pf_report_error(const struct pf_err *err)
{
	printf("error: %s%s%s\n", err->text, err->hint[0] ? "; " : "", err->hint);
}

struct totals {
	uint64_t visits_here, pages_touched, heartbeats, worst_stall_ns, downtime_ns;
};

static struct totals add_up(const struct pf_machine *machine)
{
	struct totals sum = {0};

	for (uint32_t i = 0; i < machine->plan.vcpus; i++) {
		const struct pf_vcpu *vcpu = &machine->vcpu[i];
		uint64_t here = atomic_load(&vcpu->visits) - vcpu->visits_before;
		uint64_t moving = vcpu->visits_complete ?
					  vcpu->visits_complete - vcpu->visits_before : here;
		uint32_t pages = pf_replay_walk(&machine->plan, i, 0).count;

		sum.visits_here += here;
		/* A full-period walk comes back to a page only after all others. */
		sum.pages_touched += moving < pages ? moving : pages;
		sum.heartbeats += vcpu->heartbeats;
		if (vcpu->worst_stall_ns > sum.worst_stall_ns)
			sum.worst_stall_ns = vcpu->worst_stall_ns;
		if (vcpu->downtime_ns > sum.downtime_ns)
			sum.downtime_ns = vcpu->downtime_ns;
	}
	return sum;
}

void pf_report_machine(const struct pf_machine *machine)
{
	struct totals sum = add_up(machine);
	uint64_t visits = 0;

	for (uint32_t i = 0; i < machine->plan.vcpus; i++)
		visits += atomic_load(&machine->vcpu[i].visits);
	printf("backend: %s\n", machine->ops->name);
	printf("vcpus: %u\n", machine->plan.vcpus);
	printf("memory-bytes: %" PRIu64 "\n", machine->plan.memory);
	printf("seed: %u\n", machine->plan.seed);
	printf("visits: %" PRIu64 "\n", visits);
	printf("visits-here: %" PRIu64 "\n", sum.visits_here);
	printf("pages-touched-here: %" PRIu64 "\n", sum.pages_touched);
	printf("heartbeats: %" PRIu64 "\n", sum.heartbeats);
	printf("worst-stall-us: %" PRIu64 "\n", sum.worst_stall_ns / PF_NS_PER_US);
	printf("userfault-exits: %" PRIu64 "\n", atomic_load(&machine->stage2.faults));
	printf("downtime-guest-us: %" PRIu64 "\n", sum.downtime_ns / PF_NS_PER_US);
}

void pf_report_verdict(const struct pf_machine *machine, const struct pf_difference *difference)
{
	if (difference->found_one)
		printf("verdict: DIFFERENT at 0x%" PRIx64 " expected 0x%02x found 0x%02x\n",
		       difference->address, difference->expected, difference->found);
	else
		printf("verdict: identical (%" PRIu64 " bytes)\n", machine->plan.memory);
}

void pf_report_wrong_word(const struct pf_machine *machine, const struct pf_walk_wrong *wrong)
{
	struct pf_difference difference = pf_verify_word(wrong);

	printf("backend: %s\n", machine->ops->name);
	pf_report_verdict(machine, &difference);
}
