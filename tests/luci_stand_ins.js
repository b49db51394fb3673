/* Small stand-ins, written for the tests, for what a LuCI view is given: the loader with its
   'require …' lines, E() and _(), and of view, form, fs, poll and dom what ours uses. */
'use strict';

const world = { uci: {}, answers: [], asked: [], polls: [], maps: [] };

window._ = text => text;

String.prototype.format = function(...values) {
	return this.replace(/%[ds]/g, () => values.shift());
};

window.E = function(tag, attributes, children) {
	if (Array.isArray(tag)) {
		const some = document.createDocumentFragment();
		some.append(...(attributes || tag));
		return some;
	}
	const node = document.createElement(tag);
	for (const name in attributes || {})
		node.setAttribute(name, attributes[name]);
	/* LuCI takes a text that is no array for HTML: so would this. */
	if (typeof children === 'string')
		node.innerHTML = children;
	else
		node.append(...(children || []));
	return node;
};

class Option {
	constructor(name, title, text) {
		Object.assign(this, { name, title, text, values: [] });
	}

	value(key, label) {
		this.values.push([ key, label || key ]);
	}

	shown(section) {
		const now = section[this.name];
		return now === undefined ? this.default : now;
	}

	node(section) {
		this.field = this.draw(this.shown(section));
		this.field.name = this.name;
		return E('label', {}, [ this.title, this.field ]);
	}

	draw(now) {
		const field = document.createElement('input');
		field.value = now || '';
		return field;
	}

	read() {
		return this.field.value;
	}

	save(section) {
		const now = this.read();
		if (now.length)
			section[this.name] = now;
		else
			delete section[this.name];
	}
}

class Flag extends Option {
	draw(now) {
		const field = document.createElement('input');
		field.type = 'checkbox';
		field.checked = now === '1';
		return field;
	}

	read() {
		return this.field.checked ? '1' : '0';
	}
}

class ListValue extends Option {
	draw(now) {
		const field = document.createElement('select');
		for (const [ key, label ] of this.values)
			field.append(new window.Option(label, key, false, key === (now || '')));
		return field;
	}
}

class DynamicList extends Option {
	draw(now) {
		const field = document.createElement('textarea');
		field.value = (now || []).join('\n');
		return field;
	}

	read() {
		return this.field.value.split('\n').filter(line => line);
	}
}

class NamedSection {
	constructor(name, type) {
		Object.assign(this, { name, type, tabs: [], options: [] });
	}

	tab(name) {
		this.tabs.push(name);
	}

	taboption(tab, Kind, name, title, text) {
		if (!this.tabs.includes(tab))
			throw new Error(`no tab ${tab}`);
		this.options.push(new Kind(name, title, text));
		return this.options.at(-1);
	}
}

class Map_ {
	constructor(config, title, text) {
		Object.assign(this, { config, title, text, sections: [] });
		world.maps.push(this);
	}

	section(Kind, name, type) {
		this.sections.push(new Kind(name, type));
		return this.sections.at(-1);
	}

	async render() {
		const parts = [ E('h2', {}, [ this.title ]), E('p', {}, [ this.text ]) ];
		for (const section of this.sections)
			parts.push(...section.options.map(one => one.node(world.uci[this.config][section.name])));
		return E('div', { 'class': 'cbi-map' }, parts);
	}

	save() {
		for (const section of this.sections)
			section.options.forEach(one => one.save(world.uci[this.config][section.name]));
	}
}

const modules = {
	view: { extend: methods => methods },
	form: { Map: Map_, NamedSection, Flag, ListValue, DynamicList, Value: Option },
	fs: {
		exec: (path, words) => {
			world.asked.push([ path, ...words ]);
			const answer = world.answers.length > 1 ? world.answers.shift() : world.answers[0];
			return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
		}
	},
	poll: { add: (call, seconds) => world.polls.push([ call, seconds ]) },
	dom: { content: (node, child) => node.replaceChildren(child) }
};

window.show = async function(source, uci, answers) {
	Object.assign(world, { uci, answers });
	const names = [ ...source.matchAll(/^'require (\w+)';$/gm) ].map(found => found[1]);
	const made = new Function(...names, source)(...names.map(name => modules[name]));
	document.body.append(await made.render(await made.load()));
};
window.world = world;
