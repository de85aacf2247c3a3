/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kernel/test-lost.c - what a vCPU's VMM hears of a lost page of a memfd: pageferry-vmm.h and WIRE.md 8.2 say so.
 *
 * Poison is a machine check to KVM (kvm_send_hwpoison_signal(), also where the pages are no hardware's fault): a
 * SIGBUS of the vCPU's thread, which has the address.  What the library bars is a plain EFAULT.  No patch is in this; it
 * is here since KVM is the kernel's own here, and not one that emulates every access.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "memory/uffd.h"
#include "tests/kernel/kit.h"
#include "vmm/bar.h"

#define LOST 5u /* of the memfd's pages */

static struct {
	volatile sig_atomic_t count, code;
	void *volatile address;
} heard;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	heard.count++;
	heard.code = info->si_code;
	heard.address = info->si_addr;
}

/* In each test: cmocka has its own handler, which would end it. */
static void listen_to_sigbus(void)
{
	const struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

	heard.count = 0;
	assert_int_equal(sigaction(SIGBUS, &action, NULL), 0);
}

struct memory {
	int fd;
	uint8_t *map;
};

/* Slot 1, behind the guest_memfd with the code. */
static void open_memory(const struct kit *kit, struct memory *memory)
{
	struct pf_kvm_memory_region2 code = kit_slot(kit, 0), slot = {.slot = 1, .guest_phys_addr = SIZE};

	memory->fd = memfd_create("lost", MFD_CLOEXEC);
	assert_true(memory->fd >= 0);
	assert_int_equal(ftruncate(memory->fd, SIZE), 0);
	memory->map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
	assert_true(memory->map != MAP_FAILED);
	slot.memory_size = SIZE;
	slot.userspace_addr = (uintptr_t)memory->map;
	assert_int_equal(kit_set_slot(kit, &code), 0);
	assert_int_equal(kit_set_slot(kit, &slot), 0);
}

static void close_memory(struct memory *memory)
{
	munmap(memory->map, SIZE);
	close(memory->fd);
}

static uint64_t lost_at(const struct memory *memory)
{
	return (uintptr_t)memory->map + LOST * PAGE;
}

static void trap_and_poison(const struct kit *kit, const struct memory *memory)
{
	struct uffdio_register range = {.range = {lost_at(memory), PAGE}, .mode = MISSING};

	assert_int_equal(ioctl(kit->uffd, UFFDIO_REGISTER, &range), 0);
	assert_int_equal(pf_uffd_poison(kit->uffd, lost_at(memory), PAGE), PF_MAP_DONE);
}

static void poison_is_a_sigbus_of_the_vcpu_s_thread(void **state)
{
	const struct kit *kit = *state;
	struct memory memory;
	struct vcpu vcpu;

	open_memory(kit, &memory);
	trap_and_poison(kit, &memory);
	vcpu_open(&vcpu, kit, LOAD, PAGES + LOST);
	listen_to_sigbus();
	assert_int_equal(vcpu_run(&vcpu), -EINTR);
	assert_int_equal(heard.count, 1);
	assert_int_equal(heard.code, BUS_MCEERR_AR);
	assert_ptr_equal(heard.address, (void *)(uintptr_t)lost_at(&memory));
	/* And as often as it comes back. */
	assert_int_equal(vcpu_run(&vcpu), -EINTR);
	assert_int_equal(heard.count, 2);
	vcpu_close(&vcpu);
	close_memory(&memory);
}

static void what_is_barred_is_an_efault_and_no_signal(void **state)
{
	const struct kit *kit = *state;
	struct pf_err err = {0};
	struct memory memory;
	struct vcpu vcpu;
	int empty = pf_bar_open(&err);

	assert_true(empty >= 0);
	open_memory(kit, &memory);
	trap_and_poison(kit, &memory);
	assert_int_equal(pf_bar_pages(empty, kit->uffd, lost_at(&memory), PAGE, &err), 0);
	vcpu_open(&vcpu, kit, LOAD, PAGES + LOST);
	listen_to_sigbus();
	assert_int_equal(vcpu_run(&vcpu), -EFAULT);
	assert_int_equal(heard.count, 0);
	assert_int_not_equal(vcpu.run->exit_reason, PF_KVM_EXIT_MEMORY_FAULT); /* which would say where */
	/* Its neighbours are as they were. */
	memory.map[(LOST + 1) * PAGE] = 0x77;
	vcpu_restart(&vcpu, PAGES + LOST + 1);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vcpu_al(&vcpu), 0x77);
	vcpu_close(&vcpu);
	close_memory(&memory);
	close(empty);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(poison_is_a_sigbus_of_the_vcpu_s_thread,
						kit_open_unwritable, kit_close),
		cmocka_unit_test_setup_teardown(what_is_barred_is_an_efault_and_no_signal,
						kit_open_unwritable, kit_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
