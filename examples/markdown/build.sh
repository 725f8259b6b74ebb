# Makes public/NAME.html from each pages/NAME.md: all pages, or none if one fails. A
# page that has not changed is not written, so that only changed pages reload.
set -eu
new=$(mktemp -d public/.new-XXXXXX) # hidden: neither served nor watched
trap 'rm -rf "$new"' EXIT

for page in pages/*.md; do
	name=${page#pages/}
	title=$(sed -n '1s/^# //p' "$page")
	if [ -z "$title" ]; then
		echo "$page:1: want the title, as in # Welcome"
		exit 1
	fi
	{
		cat layout/head.html
		echo "<title>$(printf %s "$title" | sed 's/&/\&amp;/g; s/</\&lt;/g')</title>"
		cmark "$page"
		cat layout/foot.html
	} >"$new/${name%.md}.html"
done

for old in public/*.html; do
	name=${old##*/}
	if [ -e "$old" ] && [ ! -e "$new/$name" ]; then rm "$old"; fi
done
for page in "$new"/*.html; do
	cmp -s "$page" "public/${page##*/}" || mv "$page" public/
done
