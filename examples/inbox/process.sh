# process.sh FILE...   processes uploads, also in directories of inbox/
#
# Any file name works. A file leaves inbox/ when everything is done, and not before: if
# this script is killed halfway, the file is processed again with the same result.
set -u
inbox=$PWD/inbox

# work FILE NAME   is called with FILE locked.
work() {
	mkdir -p "done${2%/*}" "failed${2%/*}" || return
	draft=done${2%/*}/.$$
	sh total.sh "$1" >"$draft" 2>"$draft.log"
	status=$?
	if [ $status -eq 0 ]; then
		rm "$draft.log" && mv "$draft" "done$2.total" && mv "$1" "done$2"
		return
	fi
	cat "$draft.log"
	if [ $status -eq 75 ]; then
		rm "$draft" "$draft.log" # the file stays, and is tried again
		return $status
	fi
	rm "$draft" && mv "$draft.log" "failed$2.log" && mv "$1" "failed$2"
	return $status
}

status=0
for file; do
	if [ -f "$file" ]; then
		# After waiting for the lock, check that FILE is still the same file.
		{ flock 9 && { [ ! "$file" -ef /dev/fd/9 ] || work "$file" "${file#"$inbox"}"; }; } 9<"$file"
	fi || status=1
done
exit $status
