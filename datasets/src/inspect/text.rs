//! What was found, for a terminal.

use std::fmt::{self, Display, Formatter};

use super::{Group, Histogram, Inspection};

/// Groups, and classes, that are listed.
const LISTED: usize = 20;

impl Display for Inspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        write!(f, "Checked {} pictures", tally.pictures)?;
        if let Some([(w, h), (wide, high)]) = tally.sizes {
            write!(f, ", {w} to {wide} wide, {h} to {high} high")?;
        }
        writeln!(f)?;
        line(f, "Shorter sides", &tally.short_sides)?;
        if tally.objects > 0 {
            let [small, medium, large] = tally.small_medium_large;
            writeln!(
                f,
                "Objects: {}, in {} pictures ({} pictures without); {small} small, {medium} medium, {large} large",
                tally.objects,
                tally.pictures - tally.without_objects,
                tally.without_objects
            )?;
            line(f, "Sides of boxes", &tally.box_sides)?;
        }
        classes(f, self)?;
        let own = |group: &&Group| !group.is_shared();
        let same: Vec<_> = self.same.iter().filter(own).collect();
        groups(f, "Exactly the same", " = ", &same, self)?;
        let alike: Vec<_> = self.alike.iter().filter(own).collect();
        groups(f, "Looking alike", " ~ ", &alike, self)?;
        if let Some((_, path)) = &self.against {
            let path = path.display();
            writeln!(f, "Held against {} pictures of {path}", self.others)?;
            if !self.same.iter().chain(&self.alike).any(Group::is_shared) {
                writeln!(f, "Shared with it: none")?;
            }
            let shared: Vec<_> = self.same.iter().filter(|g| g.is_shared()).collect();
            groups(f, "Shared with it, exactly the same", " = ", &shared, self)?;
            let shared: Vec<_> = self.alike.iter().filter(|g| g.is_shared()).collect();
            groups(f, "Shared with it, looking alike", " ~ ", &shared, self)?;
        }
        Ok(())
    }
}

fn line(f: &mut Formatter<'_>, what: &str, histogram: &Histogram) -> fmt::Result {
    let bins: Vec<_> = histogram
        .bins()
        .map(|(from, count)| format!("{}: {count}", range(from)))
        .collect();
    writeln!(f, "{what} in pixels: {}", bins.join(", "))
}

/// The numbers of a bin, from a power of two on.
pub(super) fn range(from: u32) -> String {
    match from {
        1 => "1".into(),
        from => format!("{from}-{}", from - 1 + from),
    }
}

fn classes(f: &mut Formatter<'_>, found: &Inspection) -> fmt::Result {
    let mut classes: Vec<_> = found.tally.classes.iter().collect();
    if classes.is_empty() {
        return Ok(());
    }
    classes.sort_by_key(|class| std::cmp::Reverse(class.objects));
    writeln!(f, "Classes: {}", classes.len())?;
    for class in classes
        .iter()
        .filter(|class| class.objects > 0)
        .take(LISTED)
    {
        let (objects, pictures) = (class.objects, class.pictures);
        writeln!(
            f,
            "  {objects:>8} in {pictures:>7} pictures  {}",
            class.name
        )?;
    }
    let more = classes
        .iter()
        .filter(|class| class.objects > 0)
        .count()
        .saturating_sub(LISTED);
    if more > 0 {
        writeln!(f, "  and {more} more")?;
    }
    let empty: Vec<_> = found.tally.empty_classes().collect();
    if !empty.is_empty() {
        writeln!(f, "Classes that occur nowhere: {}", empty.join(", "))?;
    }
    Ok(())
}

fn groups(
    f: &mut Formatter<'_>,
    what: &str,
    sign: &str,
    groups: &[&Group],
    found: &Inspection,
) -> fmt::Result {
    if groups.is_empty() {
        return Ok(());
    }
    let pictures: usize = groups.iter().map(|group| group.here).sum();
    writeln!(f, "{what}: {pictures} pictures in {} groups", groups.len())?;
    for group in groups.iter().take(LISTED) {
        writeln!(f, "  {}", names(group, sign, found))?;
    }
    if groups.len() > LISTED {
        writeln!(f, "  and {} more groups", groups.len() - LISTED)?;
    }
    Ok(())
}

/// The members of a group; those of the other source with where they are.
fn names(group: &Group, sign: &str, found: &Inspection) -> String {
    let name = |member: &super::Member| match &found.against {
        Some((_, path)) if member.there => format!("{} of {}", member.name, path.display()),
        _ => member.name.clone(),
    };
    let names: Vec<_> = group.named.iter().map(name).collect();
    let more = group.here + group.there - names.len();
    let names = names.join(sign);
    if more > 0 {
        return format!("{names} and {more} more");
    }
    names
}
