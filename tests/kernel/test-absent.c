/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kernel/test-absent.c - how a kernel without the patches says what it lacks.
 *
 * The agent tells such a kernel by these answers, and must: the last test is what would become of a
 * migration that does not ask.  It also shows that the tests of the patched kernel are about the
 * patches.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/kernel/kit.h"

static void kvm_says_what_it_lacks(void **state)
{
	const struct kit *kit = *state;

	assert_int_equal(ioctl(kit->vm, KVM_CHECK_EXTENSION, PF_KVM_CAP_GUEST_MEMFD), 1);
	assert_int_equal(ioctl(kit->vm, KVM_CHECK_EXTENSION, PF_KVM_CAP_GUEST_MEMFD_FLAGS),
			 PF_GUEST_MEMFD_MMAP | PF_GUEST_MEMFD_INIT_SHARED);
	assert_int_equal(ioctl(kit->vm, KVM_CHECK_EXTENSION, PF_KVM_CAP_USERFAULT), 0);
}

static void guest_memfd_has_no_write(void **state)
{
	const struct kit *kit = *state;

	assert_int_equal(kit_create(kit, SIZE, WRITABLE), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(kit_write(kit, 0, 1), -ESPIPE);
}

static void userfaultfd_does_not_take_a_mapping_of_it(void **state)
{
	const struct kit *kit = *state;

	assert_int_equal(kit_register(kit, MISSING), EINVAL);
	assert_int_equal(kit_register(kit, MINOR), EINVAL);
	assert_int_equal(kit_register(kit, BOTH), EINVAL);
}

static void a_slot_has_no_userfault_flag(void **state)
{
	const struct kit *kit = *state;
	struct pf_kvm_memory_region2 slot = kit_slot(kit, PF_KVM_MEM_USERFAULT);

	assert_int_equal(kit_set_slot(kit, &slot), EINVAL);
}

static void a_bitmap_without_the_flag_is_padding(void **state)
{
	const struct kit *kit = *state;
	struct pf_kvm_memory_region2 slot = kit_slot(kit, 0);

	slot.userfault_bitmap = (uintptr_t)kit->bitmap;
	assert_int_equal(kit_set_slot(kit, &slot), 0);
}

static void a_vcpu_reads_zeros_where_a_page_is_missing(void **state)
{
	const struct kit *kit = *state;
	struct pf_kvm_memory_region2 slot = kit_slot(kit, 0);
	struct vcpu vcpu;

	assert_int_equal(kit_set_slot(kit, &slot), 0);
	vcpu_open(&vcpu, kit, LOAD, 5);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vcpu_al(&vcpu), 0);
	assert_true(file_has_page(kit->gmem, 5));
	vcpu_close(&vcpu);
}

#define TEST(function) \
	cmocka_unit_test_setup_teardown(function, kit_open_unwritable, kit_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(kvm_says_what_it_lacks),
		TEST(guest_memfd_has_no_write),
		TEST(userfaultfd_does_not_take_a_mapping_of_it),
		TEST(a_slot_has_no_userfault_flag),
		TEST(a_bitmap_without_the_flag_is_padding),
		TEST(a_vcpu_reads_zeros_where_a_page_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
