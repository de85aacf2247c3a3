/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* core/stall.c - see core/stall.h. */
#include "core/stall.h"

uint64_t pf_stall_wake_ns(const struct pf_stall *stall, uint64_t sent)
{
	uint64_t timeout = pf_pulse_timeout_ns(stall->timeout_ns);

	if (timeout == 0 || (stall->since_ns == 0 && stall->sent == sent))
		return 0;
	return stall->looked_ns + pf_pulse_beat_ns(timeout);
}

bool pf_stall_due(const struct pf_stall *stall, uint64_t now_ns, uint64_t sent)
{
	uint64_t wake = pf_stall_wake_ns(stall, sent);

	return wake > 0 && now_ns >= wake;
}

static enum pf_pulse_news trust(struct pf_stall *stall)
{
	bool suspected = stall->suspected;

	stall->suspected = false;
	return suspected ? PF_PULSE_TRUST : PF_PULSE_NOTHING;
}

enum pf_pulse_news pf_stall_look(struct pf_stall *stall, uint64_t now_ns, uint64_t sent,
				 const struct pf_flight *flight)
{
	uint64_t timeout = pf_pulse_timeout_ns(stall->timeout_ns), silence;

	stall->looked_ns = now_ns;
	stall->sent = sent;
	if (!flight->waits)
		stall->since_ns = 0;
	else if (stall->since_ns == 0)
		stall->since_ns = now_ns;
	if (timeout == 0 || !flight->waits)
		return trust(stall);
	/* It may have waited for nothing for long before it was sent something. */
	silence = now_ns - stall->since_ns < flight->age_ns ? now_ns - stall->since_ns : flight->age_ns;
	if (silence >= flight->rtt_ns + 2 * timeout)
		return PF_PULSE_SILENT;
	if (silence < flight->rtt_ns + timeout)
		return trust(stall);
	if (stall->suspected)
		return PF_PULSE_NOTHING;
	stall->suspected = true;
	return PF_PULSE_SUSPECT;
}
