/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/demo/options.c - see migrate/demo/options.h. */
#include "migrate/demo/options.h"

#include <inttypes.h>
#include <string.h>

#include "base/flags.h"
#include "base/size.h"

#define MEMORY_DEFAULT (UINT64_C(1) << 30)
/* What pageferry-guest can have: flat 32-bit addresses, without the devices' hole. */
#define MEMORY_MIN (UINT64_C(16) << 20)
#define MEMORY_MAX (UINT64_C(3) << 30)
#define VCPUS_MAX 4

void pf_demo_options_help(FILE *out)
{
	fputs("Usage: pageferry demo [--memory SIZE] [--vcpus N] [--backend KIND] [--outage]\n"
	      "Moves a working virtual machine between two agents on this machine, compares every\n"
	      "byte of its memory, and reports how long everything took.\n"
	      "\n"
	      "  --memory SIZE   the guest's memory, 16M to 3G (default 1G)\n"
	      "  --vcpus N       1 to 4 virtual CPUs (default 1)\n"
	      "  --backend KIND  what holds the memory: memfd (the default); hugetlb, which needs\n"
	      "                  free huge pages of 2M for the memory twice; or guest_memfd, which\n"
	      "                  needs KVM and a kernel with write(2) and userfaultfd on guest_memfd\n"
	      "                  and with KVM userfault\n"
	      "  --outage        in mid post-copy, one after the other: the link is cut for 5 s, the\n"
	      "                  worker of the source is killed, the worker of the destination is\n"
	      "                  killed. Needs root. Push is limited until that is over\n"
	      "\n"
	      "As root the agents get network namespaces joined by a veth pair, else loopback.\n"
	      "Exit: 0 every byte is identical and the guest worked all the time, 1 a byte differs,\n"
	      "an agent did not recover, or the demo failed, 71 the machine lacks what it needs.\n",
	      out);
}

static int parse_memory(const char *text, uint64_t *out, struct pf_err *err)
{
	if (pf_size_parse(text, out, err))
		return pf_err_prefix(err, "--memory");
	if (*out < MEMORY_MIN || *out > MEMORY_MAX)
		return pf_err_set(err, PF_ERR_USAGE, "--memory %s: 16M to 3G are possible", text);
	return 0;
}

static int parse_backend(const char *text, struct pf_demo_options *out, struct pf_err *err)
{
	out->backend = pf_demo_backend_find(text);
	if (out->backend)
		return 0;
	return pf_err_set(err, PF_ERR_USAGE,
			  "--backend %s is unknown; memfd, hugetlb and guest_memfd are possible",
			  text);
}

/* Once both are known, in whatever order they came. */
static int check_memory(void *opaque, struct pf_err *err)
{
	const struct pf_demo_options *options = opaque;
	uint32_t page = options->backend->page_bytes;

	if (options->memory % page == 0)
		return 0;
	return pf_err_set(err, PF_ERR_USAGE,
			  "--memory of %" PRIu64 " bytes: --backend %s has pages of %uK, and the "
			  "memory must be a multiple of that",
			  options->memory, options->backend->name, page / 1024);
}

static int take_option(int option, const char *value, void *opaque, struct pf_err *err)
{
	struct pf_demo_options *out = opaque;

	switch (option) {
	case 'm':
		return parse_memory(value, &out->memory, err);
	case 'v':
		if (pf_number_parse(value, 1, VCPUS_MAX, &out->vcpus, err))
			return pf_err_prefix(err, "--vcpus");
		return 0;
	case 'b':
		return parse_backend(value, out, err);
	case 'o':
		out->outage = true;
		return 0;
	default:
		out->help = true;
		return 0;
	}
}

int pf_demo_options_parse(int argc, char **argv, struct pf_demo_options *out, struct pf_err *err)
{
	static const struct option table[] = {
		{"memory", required_argument, NULL, 'm'},  {"vcpus", required_argument, NULL, 'v'},
		{"backend", required_argument, NULL, 'b'}, {"outage", no_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},	   {NULL, 0, NULL, 0},
	};
	static const struct pf_flags flags = {"demo", table, take_option, check_memory};

	*out = (struct pf_demo_options){
		.memory = MEMORY_DEFAULT, .vcpus = 1, .backend = &pf_demo_memfd};
	return pf_flags_parse(argc, argv, &flags, out, err);
}
