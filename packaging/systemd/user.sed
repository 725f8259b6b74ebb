# Makes the unit of a user's own service manager of execlogd.service.
1,/^$/c\
# execlogd as a service of a user: serves ~/public_html at http://127.0.0.1:8000/.\
#\
#   systemctl --user start execlogd\
#\
# Flags go into ~/.config/execlogd/options:\
#\
#   EXECLOGD_OPTS=-root /home/ann/site -port 8080\
#   EXECLOGD_OPTS=-config /home/ann/site.toml\
#\
# It may do all that the user may: there is no sandbox.\

/^# With -host/,/^After=/d
s|/etc/default/execlogd|%E/execlogd/options|
s|^WorkingDirectory=.*|WorkingDirectory=%h/public_html|
# Not execlogd, where daemons that were started by hand have their sockets.
s|^RuntimeDirectory=.*|RuntimeDirectory=%n|
/^# User:/,/^$/d
/^# Files:/,/^$/d
/^# Kernel:/,/^$/d
/^# System calls:/,/^$/d
/^# Network:/,/^$/d
s|^WantedBy=.*|WantedBy=default.target|
