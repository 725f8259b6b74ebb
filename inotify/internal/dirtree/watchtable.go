package dirtree

// A watchTable maps watch descriptors to directories. The kernel hands
// descriptors out in rising order up to INT_MAX before it starts again, so the
// table consists of pages and gives back those that are empty.
type watchTable struct {
	pages []*watchPage
}

type watchPage struct {
	ids  [1024]ID
	used int
}

func (t watchTable) get(wd int32) ID {
	page := int(wd) / 1024
	if wd < 0 || page >= len(t.pages) || t.pages[page] == nil {
		return 0
	}
	return t.pages[page].ids[wd%1024]
}

// set maps wd to n, or to nothing when n is 0.
func (t *watchTable) set(wd int32, n ID) {
	at := int(wd) / 1024
	for at >= len(t.pages) {
		t.pages = append(t.pages, nil)
	}
	page := t.pages[at]
	if page == nil {
		page = new(watchPage)
		t.pages[at] = page
	}

	old := page.ids[wd%1024]
	page.ids[wd%1024] = n
	switch {
	case old == 0 && n != 0:
		page.used++
	case old != 0 && n == 0:
		page.used--
	}
	if page.used == 0 {
		t.pages[at] = nil
	}
}
