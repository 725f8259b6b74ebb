# thumbnail.sh IMAGE...         makes thumbnails, or deletes those of images that no
#                               longer exist; a directory stands for its images
# thumbnail.sh --old IMAGE...   only those that are missing or out of date
# thumbnail.sh --old            for all of photos/
#
# Any file name works. A thumbnail is never there half written.
set -u
photos=$PWD/photos
old=false
case $1 in --old) old=true && shift ;; esac
[ $# -gt 0 ] || set -- "$photos"

png() { pngtopam -quiet | pamscale -quiet -xyfit 160 160 | pnmtopng -quiet; }
jpeg() { jpegtopnm -quiet | pamscale -quiet -xyfit 160 160 | pnmtojpeg -quiet; }

# make IMAGE THUMBNAIL
make() {
	if $old && [ "$2" -nt "$1" ] && [ "$2" -nt "$0" ]; then return; fi
	draft=${2%/*}/.$$
	mkdir -p "${2%/*}" || return
	case $1 in
	*.png) png <"$1" >"$draft" ;;
	*) jpeg <"$1" >"$draft" ;;
	esac && mv "$draft" "$2" && return
	rm -f "$draft"
	return 1
}

status=0
for image; do
	thumbnail=$photos/thumbnails${image#"$photos"}
	if [ -d "$image" ]; then
		find "$image" -path "$photos/thumbnails" -prune -o -type f \
			\( -name '*.png' -o -name '*.jpg' -o -name '*.jpeg' \) -exec sh "$0" --old {} +
	elif [ -e "$image" ]; then
		make "$image" "$thumbnail"
	else
		rm -rf "$thumbnail"
	fi || status=1
done
exit $status
