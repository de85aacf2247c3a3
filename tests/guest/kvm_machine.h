/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/kvm_machine.h - a KVM machine without its vCPUs: /dev/kvm, the VM, its memory slots.
 *
 * Main thread.  The steps of the backend's table (tests/guest/machine.h) that are not a vCPU's.
 */
#ifndef PF_GUEST_KVM_MACHINE_H
#define PF_GUEST_KVM_MACHINE_H

#include "base/err.h"

struct pf_machine;

PF_MUST_USE int pf_kvm_open(struct pf_machine *machine, struct pf_err *err);
/* A slot for each region.  guest_memfd with a userfault bitmap traps from here on. */
PF_MUST_USE int pf_kvm_add_slots(struct pf_machine *machine, struct pf_err *err);
/* Every page is there: no slot traps any more.  vCPUs may run. */
PF_MUST_USE int pf_kvm_end_userfault(struct pf_machine *machine, struct pf_err *err);
void pf_kvm_close(struct pf_machine *machine);

#endif
