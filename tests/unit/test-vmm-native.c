/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-vmm-native.c - when what a VMM says is taken off its socket, and who finds it if a worker dies. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/unixsock.h"
#include "migrate/vmm.h"
#include "tests/unit/scratch.h"

#define MIB (UINT64_C(1) << 20)
#define TURN_US 1000000u
#define DEAD 7 /* how a worker ends that dies as it deals with REGIONS */

static struct scene {
	struct pf_statedir dir;
	struct pf_kept kept;
	int keepers_end, listen_fd, client, memory;
	char path[128];
	bool dies;
	unsigned regions, readies, backs;
	int unread; /* of the client's, as it was dealt with */
	off_t size;
} scene;

/* unix(7): what the client has sent and nobody has taken. */
static int unread(void)
{
	int bytes = -1;

	assert_int_equal(ioctl(scene.client, SIOCOUTQ, &bytes), 0);
	return bytes;
}

static int on_regions(void *engine, const struct pf_vmm_regions *regions, int *fds, struct pf_err *err)
{
	(void)engine, (void)err;
	if (scene.dies)
		_exit(DEAD);
	scene.regions++;
	scene.unread = unread();
	scene.size = lseek(fds[regions->region[0].fd], 0, SEEK_END);
	return 0;
}

static int on_ready(void *engine, struct pf_err *err)
{
	(void)engine, (void)err;
	scene.readies++;
	scene.unread = unread();
	return 0;
}

static int on_back(void *engine, const struct pf_vmm_hello *hello, struct pf_err *err)
{
	(void)engine, (void)hello, (void)err;
	scene.backs++;
	return 0;
}

static void on_lost(void *engine, const struct pf_err *why)
{
	(void)engine;
	fail_msg("%s", why->text);
}

static const struct pf_vmm_callbacks callbacks = {
	.regions = on_regions, .ready = on_ready, .back = on_back, .lost = on_lost};

static int set_up(void **state)
{
	struct pf_err err;
	char path[128];
	int pair[2];

	scene = (struct scene){.unread = -1};
	if (scratch_make(state) ||
	    pf_statedir_open(&scene.dir, scratch_path(path, "state"), PF_DESTINATION, "vm7", &err) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return -1;
	scene.keepers_end = pair[0];
	scene.kept = (struct pf_kept){.keeper_fd = pair[1]};
	scene.listen_fd = pf_unix_listen(scratch_path(scene.path, "vmm"), SOCK_SEQPACKET, &err);
	scene.client = pf_unix_connect(scene.path, SOCK_SEQPACKET, &err);
	scene.memory = memfd_create("memory", MFD_CLOEXEC);
	return scene.listen_fd < 0 || scene.client < 0 || ftruncate(scene.memory, (off_t)MIB) ? -1 : 0;
}

static int tear_down(void **state)
{
	pf_statedir_close(&scene.dir);
	pf_kept_close(&scene.kept);
	close(scene.keepers_end);
	close(scene.listen_fd);
	close(scene.client);
	close(scene.memory);
	return scratch_remove(state);
}

/* ---- the VMM ---- */

static void say(const struct pf_vmm_message *message, const int *fds, size_t count)
{
	static uint8_t bytes[PF_VMM_MESSAGE_MAX];
	struct pf_err err;

	if (pf_unix_send(scene.client, bytes, pf_vmm_msg_pack(message, bytes), fds, count, &err))
		fail_msg("%s", err.text);
}

static void say_hello(uint32_t attach)
{
	static struct pf_vmm_message message;

	message = (struct pf_vmm_message){
		.type = PF_VMM_HELLO,
		.hello = {.version = PF_VMM_VERSION, .destination = true, .attach = attach}};
	say(&message, NULL, 0);
}

static void say_regions(void)
{
	static struct pf_vmm_message message;
	int fds[2] = {scene.memory, scene.memory};

	message = (struct pf_vmm_message){
		.type = PF_VMM_REGIONS,
		.regions = {.count = 1,
			    .region = {{.id = 1, .shape = {0, MIB, 4096}, .kind = PF_MEMORY_MEMFD, .fd = 0,
					.mapping_count = 1, .mapping = {{1, 0x7f0000000000}},
					.bitmap_fd = PF_VMM_NO_FD, .populated = PF_POPULATED_NONE}},
			    .no_other_mappings = true}};
	say(&message, fds, 2);
}

/* ---- a worker ---- */

struct worker {
	sd_event *loop;
	struct pf_vmm *vmm;
};

static void start(struct worker *worker)
{
	struct pf_err err;

	assert_int_equal(sd_event_new(&worker->loop), 0);
	if (pf_vmm_open(worker->loop, fcntl(scene.listen_fd, F_DUPFD_CLOEXEC, 3), scene.path, PF_DESTINATION,
			&callbacks, NULL, &scene.kept, &scene.dir, &worker->vmm, &err))
		fail_msg("%s", err.text);
}

static void end(struct worker *worker)
{
	pf_vmm_close(worker->vmm, true);
	sd_event_unref(worker->loop);
}

static void turn_until(const struct worker *worker, const unsigned *count)
{
	while (*count == 0)
		assert_true(sd_event_run(worker->loop, TURN_US) > 0);
}

/* Nothing more is there to be dealt with. */
static void turn_out(const struct worker *worker)
{
	while (sd_event_run(worker->loop, 0) > 0)
		continue;
}

/* The client, from what a worker that is gone has told the keeper. */
static int take_kept(void)
{
	int fds[PF_UNIX_FDS_MAX] = {-1};
	char text[PF_NOTICE_MAX];
	struct pf_notice notice;
	size_t count = 0;
	struct pf_err err;
	ssize_t length = pf_unix_recv(scene.keepers_end, text, sizeof(text), MSG_DONTWAIT, fds, &count, &err);

	assert_true(length > 0);
	assert_int_equal(pf_notice_parse(text, (size_t)length, &notice, &err), 0);
	assert_string_equal(notice.name, "vmm");
	assert_int_equal(count, 1);
	return fds[0];
}

static void regions_are_taken_once_they_were_dealt_with(void **state)
{
	struct worker worker;

	(void)state;
	start(&worker);
	say_hello(0);
	say_regions();
	turn_until(&worker, &scene.regions);
	assert_true(scene.unread > 0);
	turn_out(&worker);
	assert_int_equal(scene.regions, 1);
	assert_int_equal(scene.size, MIB);
	assert_int_equal(unread(), 0);
	end(&worker);
}

static void anything_else_is_taken_before(void **state)
{
	struct pf_vmm_message ready = {.type = PF_VMM_READY};
	struct worker worker;

	(void)state;
	start(&worker);
	say_hello(0);
	say(&ready, NULL, 0);
	turn_until(&worker, &scene.readies);
	assert_int_equal(scene.unread, 0);
	turn_out(&worker);
	assert_int_equal(scene.readies, 1);
	end(&worker);
}

static void die_of_regions(void)
{
	struct worker worker;

	scene.dies = true;
	start(&worker);
	for (;;)
		(void)sd_event_run(worker.loop, TURN_US);
}

static void who_dies_of_them_leaves_them_to_the_next(void **state)
{
	struct worker worker;
	struct pf_err err;
	pid_t child;
	int how;

	(void)state;
	say_hello(0);
	say_regions();
	child = fork();
	if (child == 0)
		die_of_regions();
	assert_int_equal(waitpid(child, &how, 0), child);
	assert_true(WIFEXITED(how) && WEXITSTATUS(how) == DEAD);
	start(&worker);
	if (pf_vmm_adopt(worker.vmm, take_kept(), &err))
		fail_msg("%s", err.text);
	turn_until(&worker, &scene.regions);
	turn_out(&worker);
	assert_int_equal(scene.regions, 1);
	assert_int_equal(scene.size, MIB);
	end(&worker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(regions_are_taken_once_they_were_dealt_with, set_up, tear_down),
		cmocka_unit_test_setup_teardown(anything_else_is_taken_before, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_dies_of_them_leaves_them_to_the_next, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
