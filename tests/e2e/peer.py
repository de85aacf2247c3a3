# SPDX-License-Identifier: LGPL-2.1-or-later
"""peer.py - an authenticated peer that lies: tests/hostile/pageferry-peer, a command at a time.

It does the handshake, HELLO and proof like an agent, and then what a test tells it.  `do` wants a
command to work; `say` returns what became of it.
"""
from harness import ID, program
from pki import DESTINATION_NAME, SOURCE_NAME
from processes import DEADLINE, Speaker

MIB = 1 << 20
# What a pageferry-guest of 64 MiB describes: GPA, size and page size of each region.
GUEST_REGIONS = f"0:{32 * MIB}:4096,{32 * MIB}:{32 * MIB}:4096"


class Peer(Speaker):
    """One connection is one number, 0 to 15; a source's connection 0 is urgent by habit."""

    def __init__(self, side, address, pki, folder, name=None):
        self.side = side
        agent = DESTINATION_NAME if side == "source" else SOURCE_NAME
        argv = [program("PAGEFERRY_PEER"), side, address, pki.folder, agent, ID]
        super().__init__(name or f"hostile-{side}", argv, folder)
        if side == "destination":
            self.address = self.wait_line(lambda line: line.startswith("ok ")).split()[1]

    def say(self, command):
        super().say(command)
        answer = self.wait_line(lambda line: True, DEADLINE)
        assert not answer.startswith("error"), f"{command}: {answer}"
        return answer

    def do(self, command):
        answer = self.say(command)
        assert answer.startswith("ok"), f"{command}: {answer}"
        return answer

    def check_gone(self, connection):
        """Reads until the agent closes: what it said last."""
        answer = self.say(f"gone {connection}")
        assert answer.startswith("gone")
        return answer

    def leave(self):
        """The script is over: it ends by itself."""
        self.process.stdin.close()
        assert self.wait() == 0

    # ---- as a source

    def connect(self, channels=1, **urgent):
        """A link with all of its connections; more words for the first HELLO."""
        more = "".join(f" {name}={value}" for name, value in urgent.items())
        self.do("open 0" + (" rekey=1" if urgent.get("rekey") else ""))
        self.do(f"hello 0 channels={channels}{more}")
        self.do("expect 0 WELCOME")
        for i in range(1, channels + 1):
            self.do(f"open {i}")
            self.do(f"hello {i} channel={i} channels={channels}")
            self.do(f"expect {i} WELCOME")

    def agree(self, regions=GUEST_REGIONS):
        self.do(f"frame 0 REGIONS regions={regions}")
        self.do("expect 0 REGIONS_OK")

    def pause(self, state=64):
        self.do(f"frame 1 PAUSED paused={state}")
        if state:
            self.do(f"frame 1 DEVICE body={state}")

    def commit(self):
        self.do("expect 0 READY")
        self.do("frame 0 COMMIT verdict=OFFERED")
        self.do("expect 0 RUN")

    # ---- as a destination

    def accept(self, channels=1):
        for i in range(channels + 1):
            self.do(f"open {i}")
            self.do(f"expect {i} HELLO")
            self.do(f"welcome {i} channel={i}")
