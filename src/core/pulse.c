/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* core/pulse.c - see core/pulse.h. */
#include "core/pulse.h"

uint64_t pf_pulse_timeout_ns(const _Atomic uint64_t *parameter)
{
	return parameter ? atomic_load_explicit(parameter, memory_order_relaxed) : 0;
}

uint64_t pf_pulse_beat_ns(uint64_t timeout_ns)
{
	return timeout_ns / 3 < PF_PULSE_BEAT_NS ? timeout_ns / 3 : PF_PULSE_BEAT_NS;
}

void pf_pulse_begin(struct pf_pulse *pulse, uint64_t now_ns, uint64_t received, uint64_t sent,
		    uint64_t patience_ns)
{
	pulse->looked_ns = pulse->heard_ns = now_ns;
	pulse->said_ns = 0;
	pulse->patience_ns = patience_ns;
	pulse->received = received;
	pulse->sent = sent;
	pulse->suspected = false;
}

/* This thread looks once a beat; of what is longer it was away for the rest. */
static void forgive_absence(struct pf_pulse *pulse, uint64_t now_ns, uint64_t beat_ns)
{
	uint64_t gap = now_ns - pulse->looked_ns;

	if (gap > 2 * beat_ns)
		pulse->heard_ns += gap - beat_ns;
	pulse->looked_ns = now_ns;
}

static enum pf_pulse_news hear(struct pf_pulse *pulse, uint64_t now_ns, uint64_t received)
{
	bool suspected = pulse->suspected;

	pulse->received = received;
	pulse->heard_ns = now_ns;
	pulse->patience_ns = 0;
	pulse->suspected = false;
	return suspected ? PF_PULSE_TRUST : PF_PULSE_NOTHING;
}

enum pf_pulse_news pf_pulse_look(struct pf_pulse *pulse, uint64_t now_ns, uint64_t received,
				 uint64_t sent)
{
	uint64_t timeout = pf_pulse_timeout_ns(pulse->timeout_ns), silence;

	if (timeout == 0)
		return PF_PULSE_NOTHING;
	forgive_absence(pulse, now_ns, pf_pulse_beat_ns(timeout));
	if (sent != pulse->sent) {
		pulse->sent = sent;
		pulse->said_ns = now_ns;
	}
	if (received != pulse->received)
		return hear(pulse, now_ns, received);
	silence = now_ns - pulse->heard_ns;
	if (silence >= pulse->patience_ns + 2 * timeout)
		return PF_PULSE_SILENT;
	if (pulse->suspected || silence < pulse->patience_ns + timeout)
		return PF_PULSE_NOTHING;
	pulse->suspected = true;
	return PF_PULSE_SUSPECT;
}

bool pf_pulse_due(const struct pf_pulse *pulse, uint64_t now_ns)
{
	uint64_t timeout = pf_pulse_timeout_ns(pulse->timeout_ns);

	return timeout > 0 && now_ns - pulse->said_ns >= pf_pulse_beat_ns(timeout);
}

uint64_t pf_pulse_wake_ns(const struct pf_pulse *pulse)
{
	uint64_t timeout = pf_pulse_timeout_ns(pulse->timeout_ns), verdict, beat;

	if (timeout == 0)
		return 0;
	verdict = pulse->heard_ns + pulse->patience_ns + (pulse->suspected ? 2 : 1) * timeout;
	/* From the last look, not from the last word: while nothing can be sent it would not wait. */
	beat = pulse->looked_ns + pf_pulse_beat_ns(timeout);
	return verdict < beat ? verdict : beat;
}
