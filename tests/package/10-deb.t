#!/bin/bash
# The Debian package: built, installed into a fresh Debian, run there as an administrator would, and removed.
# timeout: 1500
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/chroot-lib.sh
. "$SRC/tests/chroot-lib.sh"
RUN_TIMEOUT=900

untracked() { git -C "$SRC" ls-files --others --exclude-standard 2>/dev/null; }
before=$(untracked)
run_ok make -C "$SRC" --no-print-directory BUILD="$BUILD" deb
package=$SRC/$(tail -n 1 <<<"$out")
version=$("$BUILD/bin/gw-send" --version | sed 's/.* //')
same "dist/gatepost_${version}_$(dpkg --print-architecture).deb" "$(tail -n 1 <<<"$out")" "its name"
same "$before" "$(untracked)" "git ignores all that was made"
if command -v lintian >/dev/null; then
  run_ok lintian --fail-on error,warning --allow-root "$package"
  same '' "$out" "lintian has nothing to say"
  check "at most 5 overrides" [ "$(grep -vc '^#' "$SRC/scripts/debian/gatepost.lintian-overrides")" -le 5 ]
else
  skip 3 "lintian is not installed"
fi

need_debian systemd procps
inside dpkg-query -f '${Package}\n' -W | sort >packages.before
cp "$package" "$CHROOT/root/gatepost.deb"
run_ok inside apt-get -q install -y --no-install-recommends /root/gatepost.deb
run_ok inside sh -c 'gw-send --version && gw-listen --version && gw-dedup --version && distributor --version && instance-map --version && queue-inspect --version'
same 'gatepost gatepost 2770' "$(inside stat -c '%U %G %a' /var/spool/gatepost)" "the root of the queues"
for file in lib/systemd/system/gatepost-{forward,listen,purge,worker@,distributor@}.service lib/systemd/system/gatepost-purge.timer \
  usr/share/bash-completion/completions/gw-send usr/share/zsh/vendor-completions/_gw-send usr/share/man/man1/gw-send.1.gz \
  usr/libexec/gatepost/gw-forward usr/share/doc/gatepost/README.md.gz; do
  check "$file" [ -e "$CHROOT/$file" ]
done
run_ok inside systemd-analyze verify --man=no /lib/systemd/system/gatepost-forward.service /lib/systemd/system/gatepost-listen.service

# A day in its life: a message to itself over HTTP, as the user of the services.
cat >"$CHROOT/root/day" <<'EOF'
set -eu
cat >/etc/gatepost/config.xml <<'XML'
<gatepost><Gateway Endpoint="Here" Outages="wait"><Sites><Site Key="Here" Address="http://127.0.0.1:7171/Here/"/></Sites>
  <Channels><Channel Address="http://127.0.0.1:7171/Here/" ChannelType="http"/></Channels></Gateway></gatepost>
XML
cd /
setpriv --reuid gatepost --regid gatepost --init-groups gw-listen >/root/listen.out 2>/root/listen.err &
listener=$!
for n in $(seq 100); do grep -q ready /root/listen.out && break; sleep 0.1; done
echo 'apple 0.99' | gw-send --to Here --wait delivered --timeout 30s
queue-inspect take Here
[ "$(stat -c %U /var/spool/gatepost/queues/Here)" = gatepost ]
kill $listener
wait $listener
EOF
run_ok inside sh /root/day
like '^apple 0.99$' "$out"

# The units under a real systemd, in a container that boots, and the tools beside them.
cat >"$CHROOT/root/boot" <<'EOF'
#!/bin/sh
exec >/root/boot.out 2>&1
mkdir -p /etc/systemd/system/gatepost-.service.d
printf '%s\n' '[Service]' ProtectKernelTunables=no ProtectControlGroups=no ProtectProc=default >/etc/systemd/system/gatepost-.service.d/container.conf
printf '%s\n' 'WORKER_OPTIONS=--capacity 2' 'WORKER_COMMAND=/bin/sh -c "cat >>/var/lib/gatepost/handled"' >/etc/gatepost/worker-Here.env
systemctl daemon-reload
echo 'kept for 0 days' | queue-inspect put audit --create -q
echo PURGE_QUEUES=audit:0s >/etc/gatepost/purge.env
systemctl start gatepost-listen gatepost-forward gatepost-worker@Here gatepost-distributor@Sales gatepost-purge.timer
systemctl is-active gatepost-listen gatepost-forward gatepost-worker@Here gatepost-distributor@Sales gatepost-purge.timer
echo 'pear 1.49' | gw-send --to Here --wait delivered --timeout 20s
queue-inspect wait Here --for empty --timeout 10s && echo "handled: $(cat /var/lib/gatepost/handled)"
systemctl reload gatepost-listen gatepost-forward && echo reloaded
systemctl start gatepost-purge.service && queue-inspect list audit --json | wc -l
kill -9 "$(systemctl show -P MainPID gatepost-forward)"
for n in $(seq 100); do gw-send status --json | grep -q '"pid"' && break; sleep 0.1; done
gw-send status --json | grep -q '"pid"' && echo 'started again'
systemctl stop gatepost-listen gatepost-forward gatepost-worker@Here gatepost-distributor@Sales && echo stopped
systemctl list-units --failed --no-legend 'gatepost*'
echo finished
sync
systemctl --force --force poweroff
EOF
chmod 755 "$CHROOT/root/boot"
printf '%s\n' '[Service]' Type=oneshot ExecStart=/root/boot >"$CHROOT/etc/systemd/system/boot-test.service"
mkdir -p "$CHROOT/etc/systemd/system/multi-user.target.wants"
ln -s ../boot-test.service "$CHROOT/etc/systemd/system/multi-user.target.wants/"
if command -v systemd-nspawn >/dev/null; then
  timeout -k 5 120 systemd-nspawn -q -D "$CHROOT" --register=no --keep-unit -b --console=pipe >nspawn.log 2>&1
fi
if [ -s "$CHROOT/root/boot.out" ]; then
  said=$(cat "$CHROOT/root/boot.out")
  same 5 "$(grep -c '^active$' <<<"$said")" "all units are active"
  like '^handled: pear 1.49$' "$said" "a message to itself, carried, received and handled by the units"
  like '^reloaded$' "$said"
  like '^0$' "$said" "the nightly purge"
  like '^started again$' "$said" "a forwarder that is killed is started again"
  like $'stopped\nfinished$' "$said" "nothing has failed"
else
  skip 6 "no container can be booted here"
fi

# Messages that wait survive its removal, and a purge; nothing else does.
run_ok inside sh -c 'echo kept | queue-inspect put Here'
run_ok inside apt-get -q purge -y gatepost
check "the messages are still there" test -d "$CHROOT/var/spool/gatepost/queues/Here"
same '' "$(find "$CHROOT" -xdev \( -path "$CHROOT/proc" -o -path "$CHROOT/var/spool/gatepost" -o -path "$CHROOT/var/log" -o -path "$CHROOT/root" -o -path "$CHROOT/var/cache" -o -path "$CHROOT/etc/gatepost" \
  -o -path "$CHROOT/etc/systemd" -o -path "$CHROOT/var/lib/gatepost" -o -path "$CHROOT/var/lib/systemd" \) \
  -prune -o \( -name '*gatepost*' -o -name 'gw-*' -o -name queue-inspect -o -name distributor \) -print)" "nothing of it is left"
run_ok inside apt-get -q install -y --no-install-recommends /root/gatepost.deb
run_ok inside queue-inspect take Here
same kept "$out" "installed again, it goes on"
done_testing
