/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/probe/options.c - see migrate/probe/options.h. */
#include "migrate/probe/options.h"

#include "base/flags.h"
#include "base/size.h"

void pf_probe_options_help(FILE *out)
{
	fputs("usage: pageferry probe [--json] [--memory SIZE] [--connect ADDR:PORT] [--tls-dir DIR]\n"
	      "                       [--peer-name NAME]\n"
	      "\n"
	      "Finds out by trying what post-copy can do on this host: traps and ioctls of\n"
	      "userfaultfd on each kind of memory, guest_memfd and KVM userfault, huge pages, memory\n"
	      "limits, and the way to a peer.  Every \"no\" says why, and what to do about it.\n"
	      "Nothing is changed, nothing is left behind; what needs a privilege says which.\n"
	      "\n"
	      "  --json               the same as one JSON object\n"
	      "  --memory SIZE        whether a guest of so many bytes fits: limits of memory control\n"
	      "                       groups, free memory, huge pages (takes K, M, G)\n"
	      "  --connect ADDR:PORT  the way to a destination: name, route, TCP, and TLS with --tls-dir\n"
	      "  --tls-dir DIR        the certificates: expiry, usable or not\n"
	      "  --peer-name NAME     the name that the peer's certificate must carry, instead of the\n"
	      "                       host of --connect\n"
	      "  --help               show this and exit\n"
	      "\n"
	      "Exit: 0 post-copy of memory on memfd works here for this user, 71 it does not, 64 usage.\n",
	      out);
}

static int take_connect(const char *text, struct pf_probe_options *out, struct pf_err *err)
{
	if (pf_endpoint_parse(text, &out->connect, err))
		return pf_err_prefix(err, "--connect");
	if (out->connect.port == 0)
		return pf_err_set(err, PF_ERR_USAGE, "--connect %s: nobody listens on port 0", text);
	return 0;
}

static int take_memory(const char *text, struct pf_probe_options *out, struct pf_err *err)
{
	if (pf_size_parse(text, &out->memory, err))
		return pf_err_prefix(err, "--memory");
	if (out->memory == 0 || out->memory > UINT64_C(1) << 52)
		return pf_err_set(err, PF_ERR_USAGE, "--memory %s is no size of a guest", text);
	return 0;
}

static int take_option(int option, const char *value, void *opaque, struct pf_err *err)
{
	struct pf_probe_options *out = opaque;

	switch (option) {
	case 'j':
		out->json = true;
		return 0;
	case 'm':
		return take_memory(value, out, err);
	case 'c':
		return take_connect(value, out, err);
	case 't':
		out->tls_dir = value;
		return 0;
	case 'n':
		out->peer_name = value;
		return 0;
	default:
		out->help = true;
		return 0;
	}
}

static int check_together(void *opaque, struct pf_err *err)
{
	const struct pf_probe_options *options = opaque;

	if (!options->peer_name || (options->connect.port != 0 && options->tls_dir))
		return 0;
	return pf_err_set(err, PF_ERR_USAGE,
			  "--peer-name is of use with --connect and --tls-dir only");
}

int pf_probe_options_parse(int argc, char **argv, struct pf_probe_options *out, struct pf_err *err)
{
	static const struct option table[] = {
		{"json", no_argument, NULL, 'j'},	   {"memory", required_argument, NULL, 'm'},
		{"connect", required_argument, NULL, 'c'}, {"tls-dir", required_argument, NULL, 't'},
		{"peer-name", required_argument, NULL, 'n'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	static const struct pf_flags flags = {"probe", table, take_option, check_together};

	*out = (struct pf_probe_options){0};
	return pf_flags_parse(argc, argv, &flags, out, err);
}
