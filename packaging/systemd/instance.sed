# Makes execlogd@.service of execlogd.service. no-network.conf comes after it.
1,/^$/c\
# execlogd@NAME: the configuration /etc/execlogd/NAME.toml as a service of its own, at the\
# sockets of execlogd@NAME.socket:\
#\
#   systemctl enable --now execlogd@NAME.socket\
#\
# The file must name the root. The sandbox is that of execlogd.service, and without a\
# network: see the end.\

s/^Description=.*/& (%i)/
s/^Documentation=man:execlogd(1)/& man:execlogd.toml(5)/
/^# With -host/,/^After=/c\
# Without a network it can have no other sockets.\
Requires=execlogd@%i.socket\
After=execlogd@%i.socket
/^Environment=EXECLOGD_OPTS=/d
/^EnvironmentFile=/d
/^# The root, unless/d
s|^WorkingDirectory=.*|WorkingDirectory=/|
s|\$EXECLOGD_OPTS|-config /etc/execlogd/%i.toml|
/^# Network:/,/^$/d
