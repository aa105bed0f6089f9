package loop

// table finds connections by the token that epoll gives back. A token is reused under a new generation, so that an event
// of a closed connection never reaches its successor.
type table struct {
	rows []row
	free []int32
	open int
}

type row struct {
	conn *Conn
	gen  int32
}

func (t *table) insert(c *Conn) {
	t.open++
	if last := len(t.free) - 1; last >= 0 {
		c.token = t.free[last]
		t.free = t.free[:last]
	} else {
		c.token = int32(len(t.rows))
		t.rows = append(t.rows, row{})
	}
	c.gen = t.rows[c.token].gen
	t.rows[c.token].conn = c
}

func (t *table) remove(c *Conn) {
	t.open--
	t.rows[c.token] = row{gen: c.gen + 1}
	t.free = append(t.free, c.token)
}

func (t *table) find(token, gen int32) *Conn {
	if r := t.rows[token]; r.gen == gen {
		return r.conn
	}
	return nil
}

func (t *table) each(fn func(*Conn)) {
	for i := range t.rows {
		if c := t.rows[i].conn; c != nil && c.accept == nil {
			fn(c)
		}
	}
}
